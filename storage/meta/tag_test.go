package meta

import (
	"io/fs"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/manifest"
)

func (s *suite) testTags() {
	s.fill()
	digest := func(repo, tag string) func(*Tx) (any, error) {
		return within(repo, func(r Repo) (any, error) { return r.TagDigest(tag) })
	}
	set := func(tag string, id int64, digest string) func(*Tx) (any, error) {
		return nothingWithin("a", func(r Repo) error { return r.SetTag(tag, id, digest, "alice", 70) })
	}
	remove := func(repo, tag string) func(*Tx) (any, error) {
		return within(repo, func(r Repo) (any, error) { return r.DeleteTag(tag, "alice", 70) })
	}
	removeAll := func(repo string, id int64) func(*Tx) (any, error) {
		return nothingWithin(repo, func(r Repo) error { return r.DeleteTagsOf(id, "alice", 70) })
	}
	s.changes([]change{
		{what: "get", call: digest("a", "other"), value: "idx"},
		{what: "get another repository's", call: digest("b", "other"), err: fs.ErrNotExist},
		{what: "get none", call: digest("a", "none"), err: fs.ErrNotExist},

		{what: "set a new one", call: set("new", 1001, "img"), marked: "a", rows: []string{"+history a new 70 actor=alice digest=img", "+tag a new manifest=img updated=70"}},
		{what: "move", call: set("latest", 1002, "idx"), marked: "a", rows: []string{"+history a latest 70 actor=alice digest=idx", "tag a latest manifest=idx updated=70"}},
		{what: "set to what it is", call: set("latest", 1001, "img"), marked: "a", rows: []string{"tag a latest updated=70"}},
		{what: "set to no manifest", call: set("latest", 9999, "img"), err: errRefused},

		{what: "delete", call: remove("a", "latest"), value: true, marked: "a", rows: []string{"+history a latest 70 actor=alice", "-tag a latest"}},
		{what: "delete another repository's", call: remove("b", "other"), value: false, marked: "b"},
		{what: "delete none", call: remove("a", "none"), value: false, marked: "a"},

		{what: "delete all of a manifest", call: removeAll("a", 1001), marked: "a", rows: []string{
			"+history a latest 70 actor=alice", "+history a v1 70 actor=alice", "-tag a latest", "-tag a v1",
		}},
		{what: "delete all of another repository's", call: removeAll("b", 1001), marked: "b"},
	})
}

// history returns the digests of a tag's history, the oldest first, with "" for a deletion.
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
