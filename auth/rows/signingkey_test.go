package rows

import (
	"reflect"
	"testing"
)

func testSigningKeys(t *testing.T, url string) {
	db, other := openAuth(t, url), openAuth(t, url)
	old := SigningKey{KID: "z", State: "active", PEM: "old", CreatedAt: 1, ActiveAt: 2}
	young := SigningKey{KID: "a", State: "next", PEM: "young", CreatedAt: 3}
	put := func(k SigningKey) {
		t.Helper()
		if !change(t, db, other, func(tx *Tx) error { return tx.PutSigningKey(k) }) {
			t.Error("a key leaves the version")
		}
	}
	check := func(want ...SigningKey) {
		t.Helper()
		if got, err := other.SigningKeys(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %#v, %v", got, err)
		}
	}
	check()
	put(young)
	put(old)
	check(old, young)
	old.State, old.RetiredAt = "retired", 5
	put(old)
	check(old, young)
	write(t, db, func(tx *Tx) error {
		keys, err := tx.SigningKeys()
		if err != nil || len(keys) != 2 {
			t.Errorf("inside: %v, %v", keys, err)
		}
		return tx.DeleteSigningKey(old.KID)
	})
	check(young)
}
