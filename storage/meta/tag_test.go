package meta

import (
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

// history returns what the history of a tag says, the oldest first: "" for a deletion.
func history(t *testing.T, db *DB, tag string) []string {
	t.Helper()
	digests, err := scanNames(db.query(t.Context(), `SELECT COALESCE(digest, '') FROM tag_history WHERE name = $1 ORDER BY id`, tag))
	if err != nil {
		t.Fatal(err)
	}
	return digests
}

// TestTagHistory has a row for each change of a tag, and none where nothing changes.
func TestTagHistory(t *testing.T) {
	db := openDB(t, dbtest.Memory)
	manifests := map[string]int64{}
	write(t, db, func(tx *Tx) (err error) {
		repo, err := tx.EnsureRepo("team/app")
		if err != nil {
			return err
		}
		for _, text := range []string{`{"a":1}`, `{"a":2}`} {
			m := &manifest.Manifest{Digest: digest.FromString(text), Payload: []byte(text)}
			if manifests[text], _, err = repo.SaveManifest(m, 1); err != nil {
				return err
			}
		}
		return nil
	})
	one, two := `{"a":1}`, `{"a":2}`
	now := int64(1)
	set := func(tag, to string) {
		now++
		write(t, db, func(tx *Tx) error {
			repo, err := tx.Repo("team/app")
			if err != nil {
				return err
			}
			return repo.SetTag(tag, manifests[to], to, "user:alice", now)
		})
	}
	for _, to := range []string{one, one, two, two, one} {
		set("latest", to)
	}
	set("other", two)
	write(t, db, func(tx *Tx) error {
		repo, err := tx.Repo("team/app")
		if err != nil {
			return err
		}
		_, err = repo.DeleteTag("latest", "user:alice", now)
		return err
	})
	set("latest", one)
	set("latest", one)
	if got, want := history(t, db, "latest"), []string{one, two, one, "", one}; !slices.Equal(got, want) {
		t.Errorf("the history of latest is %q, want %q", got, want)
	}
	if got, want := history(t, db, "other"), []string{two}; !slices.Equal(got, want) {
		t.Errorf("the history of other is %q, want %q", got, want)
	}
}
