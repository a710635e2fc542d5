package rows

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"testing"
)

func newAuthToken(t *testing.T, db *DB, token AuthToken) int64 {
	t.Helper()
	var id int64
	write(t, db, func(tx *Tx) (err error) {
		id, err = tx.CreateAuthToken(token)
		return err
	})
	return id
}

// tokenIDs returns the ids of a list of tokens.
func tokenIDs(t *testing.T, tokens []AuthToken, err error) []int64 {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var ids []int64
	for _, token := range tokens {
		ids = append(ids, token.ID)
	}
	return ids
}

func testAuthToken(t *testing.T, url string) {
	db, other := openAuth(t, url), openAuth(t, url)
	owner := newAccount(t, db, Account{Kind: "user", Name: "alice"})
	want := AuthToken{
		AccountID: owner, Kind: "personal", Name: "laptop", Hash: []byte("hash"), Scope: "repository:a:pull",
		CIDRs: []string{"10.0.0.0/8"}, CreatedAt: 1, ExpiresAt: 9,
	}
	if change(t, db, other, func(tx *Tx) (err error) { want.ID, err = tx.CreateAuthToken(want); return err }) {
		t.Error("a new token changes the version")
	}
	if change(t, db, other, func(tx *Tx) error { return tx.TouchAuthToken(want.ID, 5) }) {
		t.Error("the use of a token changes the version")
	}
	write(t, db, func(tx *Tx) error { return tx.TouchAuthToken(want.ID, 4) }) // was late
	want.UsedAt = 5
	if got, err := other.AuthTokenByHash(t.Context(), []byte("hash")); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("by hash: %#v, %v", got, err)
	}
	if got, err := other.AuthTokenByID(t.Context(), want.ID); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("by id: %#v, %v", got, err)
	}
	if !change(t, db, other, func(tx *Tx) error { return tx.DeleteAuthToken(want.ID) }) {
		t.Error("a removal leaves the version")
	}
	if _, err := other.AuthTokenByHash(t.Context(), []byte("hash")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
}

// testAuthTokensOfAccount checks that exactly the tokens of an account are listed and deleted.
func testAuthTokensOfAccount(t *testing.T, url string) {
	db := openAuth(t, url)
	alice := newAccount(t, db, Account{Kind: "user", Name: "alice"})
	bob := newAccount(t, db, Account{Kind: "user", Name: "bob"})
	var ids []int64
	for i, owner := range []int64{alice, bob, alice, 0} {
		kind := "personal"
		if owner == 0 {
			kind = "session"
		}
		ids = append(ids, newAuthToken(t, db, AuthToken{AccountID: owner, Kind: kind, Hash: fmt.Append(nil, i), ExpiresAt: 9}))
	}
	check := func(what string, want ...int64) {
		t.Helper()
		all, err := db.AuthTokens(t.Context(), 0, 100)
		if got := tokenIDs(t, all, err); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	check("all", ids...)
	if page, err := db.AuthTokens(t.Context(), ids[0], 2); !reflect.DeepEqual(tokenIDs(t, page, err), ids[1:3]) {
		t.Errorf("a page of all: %v", page)
	}
	if of, err := db.AuthTokensOf(t.Context(), alice, 0, 100); !reflect.DeepEqual(tokenIDs(t, of, err), []int64{ids[0], ids[2]}) {
		t.Errorf("alice's: %v", of)
	}
	if page, err := db.AuthTokensOf(t.Context(), alice, ids[0], 1); err != nil || len(page) != 1 || page[0].ID != ids[2] {
		t.Errorf("the second page: %v, %v", page, err)
	}
	if !change(t, db, db, func(tx *Tx) error { return tx.DeleteAuthTokensOf(bob) }) {
		t.Error("removing bob's leaves the version")
	}
	check("without bob's", ids[0], ids[2], ids[3])
	write(t, db, func(tx *Tx) error { return tx.DeleteAccount(alice) })
	check("without alice", ids[3])
}

// testAuthTokenOwner checks that the schema refuses a token without an account and a login session
// with one.
func testAuthTokenOwner(t *testing.T, url string) {
	db := openAuth(t, url)
	owner := newAccount(t, db, Account{Kind: "robot", Name: "r"})
	for _, token := range []AuthToken{
		{AccountID: owner, Kind: "session"}, {Kind: "robot"}, {Kind: "personal"}, {AccountID: owner + 1, Kind: "robot"}, {AccountID: owner, Kind: "other"},
	} {
		token.Hash = []byte("h")
		err := db.Tx(context.Background(), func(tx *Tx) error { _, err := tx.CreateAuthToken(token); return err })
		if err == nil {
			t.Errorf("a %s token of account %d was made", token.Kind, token.AccountID)
		}
	}
}

func testUseIDTokenOnce(t *testing.T, url string) {
	db := openAuth(t, url)
	use := func(issuer, jti string) error {
		return db.Tx(context.Background(), func(tx *Tx) error { return tx.UseIDToken(issuer, jti, 10) })
	}
	for _, c := range []struct {
		issuer, jti string
		want        error
	}{{"a", "1", nil}, {"a", "1", fs.ErrExist}, {"b", "1", nil}, {"a", "2", nil}} {
		if err := use(c.issuer, c.jti); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.issuer, c.jti, err, c.want)
		}
	}
}

func testForgetExpired(t *testing.T, url string) {
	db := openAuth(t, url)
	owner := newAccount(t, db, Account{Kind: "user", Name: "alice"})
	kept := newAuthToken(t, db, AuthToken{AccountID: owner, Kind: "personal", Hash: []byte("p"), ExpiresAt: 1})
	for i := range 5 {
		newAuthToken(t, db, AuthToken{Kind: "session", Hash: fmt.Append(nil, i), ExpiresAt: int64(i)})
		write(t, db, func(tx *Tx) error { return tx.UseIDToken("a", fmt.Sprint(i), int64(i)) })
	}
	left := func(want int) {
		t.Helper()
		all, err := db.AuthTokens(t.Context(), 0, 100)
		if got := tokenIDs(t, all, err); len(got) != 1+want || got[0] != kept {
			t.Errorf("tokens %v are left, want %d sessions", got, want)
		}
		var used int
		if err := db.queryRow(t.Context(), `SELECT COUNT(*) FROM used_id_tokens`).Scan(&used); err != nil || used != want {
			t.Errorf("%d used tokens are left (%v), want %d", used, err, want)
		}
	}
	if change(t, db, db, func(tx *Tx) error { return tx.DeleteExpired(3, 2) }) {
		t.Error("what was expired changes the version")
	}
	left(3)
	write(t, db, func(tx *Tx) error { return tx.DeleteExpired(3, 2) })
	left(2)
	write(t, db, func(tx *Tx) error { return tx.DeleteExpired(3, 2) })
	left(2) // those that expire at 3 and 4
}
