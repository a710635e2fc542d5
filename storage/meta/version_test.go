package meta

import (
	"errors"
	"reflect"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/manifest"
)

// in returns a transaction that runs f on a repository, which it creates if it is missing.
func in(name string, f func(r Repo) error) func(*Tx) error {
	return func(tx *Tx) error {
		r, err := tx.EnsureRepo(name)
		if err != nil {
			return err
		}
		return f(r)
	}
}

// TestVersion: the version of a repository grows with each change, before Tx returns, also where it
// is not known whether the transaction was committed. Changes of blobs make all versions grow.
func TestVersion(t *testing.T) {
	cause := errors.New("input/output error")
	fail := ""
	d := New(dbtest.OpenFaulty(t, dbtest.Memory, func(step string) error {
		if step == fail {
			return cause
		}
		return nil
	}))
	change := in("a", func(r Repo) error { return r.SetListed(1) })
	undo := func(tx *Tx) error { return errors.Join(change(tx), cause) }
	for _, c := range []struct {
		what  string
		fail  string
		fn    func(*Tx) error
		err   error
		a, of bool // whether the versions of "a" and of another repository grow
	}{
		{"a change", "", change, nil, true, false},
		{"a commit that is lost", "committed", change, db.ErrUncertain, true, false},
		{"a commit that fails", "commit", change, db.ErrUncertain, true, false},
		{"nothing begun", "begin", change, cause, false, false},
		{"an undone change", "", undo, cause, false, false},
		{"a repository is taken", "", in("a", func(Repo) error { return nil }), nil, false, false},
		{"a session", "", func(tx *Tx) error { return tx.TouchUpload("none", 1) }, nil, false, false},
		{"a blob is added", "", func(tx *Tx) error {
			b, err := tx.SaveBlob("sha256:a", 1, 1)
			if err != nil {
				return err
			}
			_, err = tx.AddBlob("a", Blob{ID: b.ID, Digest: "sha256:a", Size: 1}, 1)
			return err
		}, nil, true, false},
		{"a blob is healed", "", func(tx *Tx) error { return tx.RecordBlobHealed(1, 1) }, nil, true, true},
		{"a blob is damaged", "", func(tx *Tx) error { _, err := tx.RecordBlobDamaged(1, "k", 1); return err }, nil, true, true},
		{"a blob's objects are released", "", func(tx *Tx) error { return tx.ReleaseBlob(1, 1) }, nil, true, true},
	} {
		fail = c.fail
		a, of := d.Version("a"), d.Version("of")
		if err := d.Tx(t.Context(), c.fn); !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.what, err)
		}
		if got := [2]bool{d.Version("a") > a, d.Version("of") > of}; got != [2]bool{c.a, c.of} {
			t.Errorf("%s: versions grew: %v", c.what, got)
		}
	}
}

// TestRepoMarks calls each method of Repo: those that read mark nothing, all others mark a change.
// A new method makes it fail until it has a row here.
func TestRepoMarks(t *testing.T) {
	d := openDB(t, dbtest.Memory)
	m := &manifest.Manifest{Digest: digest.FromString("{}"), Payload: []byte("{}")}
	blob := digest.FromString("blob").String()
	id := int64(0)
	calls := []struct {
		method  string
		changes bool
		call    func(r Repo) error
	}{
		{"SaveManifest", true, func(r Repo) (err error) { id, _, err = r.SaveManifest(m, 1); return err }},
		{"AddManifest", true, func(r Repo) error { _, err := r.AddManifest(m.Digest.String(), id, 2, 1); return err }},
		{"AddPlaceholders", true, func(r Repo) error { return r.AddPlaceholders([]Content{{Digest: blob, Size: -1}}, 1) }},
		{"AddReferences", true, func(r Repo) error {
			return r.AddReferences(id, []manifest.Link{{Digest: digest.Digest(blob)}})
		}},
		{"SetTag", true, func(r Repo) error { return r.SetTag("v1", id, m.Digest.String(), "", 1) }},
		{"SetListed", true, func(r Repo) error { return r.SetListed(1) }},
		{"TagDigest", false, func(r Repo) error { _, err := r.TagDigest("v1"); return err }},
		{"ManifestID", false, func(r Repo) error { _, err := r.ManifestID(m.Digest.String()); return err }},
		{"Content", false, func(r Repo) error { _, err := r.Content(blob); return err }},
		{"Contents", false, func(r Repo) error { _, err := r.Contents([]string{blob}); return err }},
		{"ReferencedBy", false, func(r Repo) error { _, err := r.ReferencedBy(blob, false); return err }},
		{"DeleteTag", true, func(r Repo) error { _, err := r.DeleteTag("v1", "", 1); return err }},
		{"DeleteTagsOf", true, func(r Repo) error { return r.DeleteTagsOf(id, "", 1) }},
		{"DeleteManifest", true, func(r Repo) error { return r.DeleteManifest(id, m.Digest.String(), 1) }},
		{"RemoveBlob", true, func(r Repo) error { return r.RemoveBlob(blob) }},
		{"DropUnlisted", true, func(r Repo) error { return r.DropUnlisted() }},
	}
	called := map[string]bool{}
	for _, c := range calls {
		called[c.method] = true
		before := d.Version("a")
		write(t, d, in("a", c.call))
		if grew := d.Version("a") > before; grew != c.changes {
			t.Errorf("%s: the version grew: %t, want %t", c.method, grew, c.changes)
		}
	}
	for method := range reflect.TypeFor[Repo]().Methods() {
		if !called[method.Name] {
			t.Errorf("%s is not called here: does it change the repository?", method.Name)
		}
	}
}
