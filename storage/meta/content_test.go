package meta

import "io/fs"

func (s *suite) testContents() {
	s.fill()
	get := func(repo, digest string) func(*Tx) (any, error) {
		return within(repo, func(r Repo) (any, error) { return r.Content(digest) })
	}
	add := func(contents ...Content) func(*Tx) (any, error) {
		return nothingWithin("a", func(r Repo) error { return r.AddPlaceholders(contents, 70) })
	}
	all := []string{"one", "bad", "hid", "wait", "img", "none"}
	s.changes([]change{
		{what: "all", call: within("a", func(r Repo) (any, error) { return r.Contents(all) }), value: map[string]Content{
			"one":  {Digest: "one", BlobID: 1001, Size: 3},
			"bad":  {Digest: "bad", Size: 4}, // counts as missing
			"wait": {Digest: "wait", Size: 7},
			"img":  {Digest: "img", ManifestID: 1001, Size: 4},
		}},
		{what: "all of another", call: within("b", func(r Repo) (any, error) { return r.Contents(all) }), value: map[string]Content{
			"one":  {Digest: "one", BlobID: 1001, Size: 3},
			"wait": {Digest: "wait", Size: 7},
			"img":  {Digest: "img", ManifestID: 1003, Size: 4},
		}},
		{what: "all of none", call: within("a", func(r Repo) (any, error) { return r.Contents(nil) }), value: map[string]Content{}},

		{what: "a blob", call: get("a", "one"), value: Content{Digest: "one", BlobID: 1001, Size: 3}},
		{what: "a manifest", call: get("b", "img"), value: Content{Digest: "img", ManifestID: 1003, Size: 4}},
		{what: "a placeholder", call: get("a", "wait"), value: Content{Digest: "wait", Size: 7}},
		{what: "hidden content", call: get("a", "hid"), err: fs.ErrNotExist},
		{what: "content of another repository", call: get("b", "many"), err: fs.ErrNotExist},

		{what: "add placeholders", call: add(Content{Digest: "x", Size: 8, BlobID: 1001}, Content{Digest: "y", Size: -1}, Content{Digest: "one", Size: 8}, Content{Digest: "hid", Size: 8}),
			marked: "a", rows: []string{"+content a x size=8 touched=70", "+content a y size=-1 touched=70"}},
		{what: "add no placeholders", call: add(), marked: "a"},
	})
	for c, want := range map[Content]bool{
		{Digest: "d", Size: 1}: false, {BlobID: 1}: true, {ManifestID: 1}: true, {BlobID: 1, ManifestID: 1}: true,
	} {
		if got := c.Present(); got != want {
			s.Errorf("%+v is present: %t", c, got)
		}
	}
}

// A content that is added fills the row that the repository has under its digest. The size that a
// placeholder stated is returned if it differs.
func (s *suite) testContentsAdded() {
	s.fill()
	blob := func(repo string, b Blob) func(*Tx) (any, error) {
		return func(tx *Tx) (any, error) { return tx.AddBlob(repo, b, 70) }
	}
	manifest := func(digest string, id, size int64) func(*Tx) (any, error) {
		return within("a", func(r Repo) (any, error) { return r.AddManifest(digest, id, size, 70) })
	}
	asPromised := int64(-1)
	s.changes([]change{
		{what: "a new blob", call: blob("b", Blob{1002, "many", 6, false, Object{}}), value: asPromised, marked: "b",
			rows: []string{"+content b many blob=many size=6 touched=70"}},
		{what: "a new repository", call: blob("new", Blob{ID: 1002, Digest: "many", Size: 6}), value: asPromised, marked: "new",
			rows: []string{"+content new many blob=many size=6 touched=70", "+repository new"}},
		{what: "a blob again", call: blob("a", Blob{ID: 1001, Digest: "one", Size: 3}), value: asPromised, marked: "a", rows: []string{"content a one touched=70"}},
		{what: "a hidden blob", call: blob("a", Blob{ID: 1005, Digest: "hid", Size: 3}), value: asPromised, marked: "a",
			rows: []string{"content a hid hidden= size=3 touched=70"}},
		{what: "a blob for a placeholder", call: blob("a", Blob{ID: 1004, Digest: "wait", Size: 7}), value: asPromised, marked: "a",
			rows: []string{"content a wait blob=bare touched=70"}},
		{what: "a blob for a placeholder of another size", call: blob("a", Blob{ID: 1004, Digest: "wait", Size: 5}), value: int64(7), marked: "a",
			rows: []string{"content a wait blob=bare size=5 touched=70"}},
		{what: "a blob for a placeholder of unknown size", call: blob("a", Blob{ID: 1004, Digest: "any", Size: 5}), value: asPromised, marked: "a",
			rows: []string{"content a any blob=bare size=5 touched=70"}},
		{what: "a blob that is a manifest too", call: blob("a", Blob{ID: 1004, Digest: "img", Size: 5}), value: asPromised, marked: "a",
			rows: []string{"content a img blob=bare size=5 touched=70"}},
		{what: "no blob", call: blob("a", Blob{ID: 9999, Digest: "x", Size: 5}), err: errRefused},

		{what: "a new manifest", call: manifest("x", 1002, 5), value: asPromised, marked: "a", rows: []string{"+content a x manifest=idx size=5 touched=70"}},
		{what: "a manifest for a placeholder", call: manifest("wait", 1002, 5), value: int64(7), marked: "a", rows: []string{"content a wait manifest=idx size=5 touched=70"}},
		{what: "a manifest that is a blob too", call: manifest("one", 1002, 3), value: asPromised, marked: "a", rows: []string{"content a one manifest=idx touched=70"}},
	})
}

// A placeholder stays while a manifest links it.
func (s *suite) testContentsRemoved() {
	s.fill()
	s.exec(`UPDATE repository_contents SET blob_id = 1001 WHERE digest = 'idx' AND repository_id = 1002`)
	remove := func(repo, digest string) func(*Tx) (any, error) {
		return nothingWithin(repo, func(r Repo) error { return r.RemoveBlob(digest) })
	}
	s.changes([]change{
		{what: "a blob that no manifest links", call: remove("u", "one"), marked: "u", rows: []string{"-content u one"}},
		{what: "a blob that a manifest links", call: remove("a", "one"), marked: "a", rows: []string{"content a one blob="}},
		{what: "a blob that a manifest of another repository links", call: remove("u", "bare"), marked: "u", rows: []string{"-content u bare"}},
		{what: "a blob that is a manifest too", call: remove("a", "idx"), marked: "a", rows: []string{"content a idx blob="}},
		{what: "a blob that is not there", call: remove("a", "none"), marked: "a"},
	})
}
