package meta

// fixture has rows of every kind, written without the methods under test. Ids are larger than those
// that the database gives later, and in another order than names. Digests are words here.
//
//   - Repositories: a and b have content and are listed; f is listed and empty; u has content and
//     is not listed; e is empty and not listed.
//   - Blobs: one has one object, many has two, bad is damaged, bare has no object, hid is hidden in
//     a.
//   - Uploads: open has two recorded objects and one that is written, new has one that is reserved,
//     done is finished, spare is spare and has one that is reserved.
//   - Objects of the deletion worker: gone/a, /b, /c, and gone/d, whose request may still receive.
//   - Manifests: in a the image img, which the index idx lists; in b another img.
var fixture = []struct {
	query string
	args  []any
}{
	{`INSERT INTO repositories (id, name, listed_at, listed_version) VALUES
		(1001, 'b', 2, 2), (1002, 'a', 1, 1), (1003, 'u', NULL, NULL), (1004, 'e', NULL, NULL), (1005, 'f', 3, 3)`, nil},
	{`UPDATE catalog SET version = 3`, nil},
	{`INSERT INTO blobs (id, digest, size, damaged_at, checked_at, created_at) VALUES
		(1001, 'one', 3, NULL, 11, 1), (1002, 'many', 6, NULL, 12, 1), (1003, 'bad', 4, 9, 13, 1),
		(1004, 'bare', 5, NULL, 14, 1), (1005, 'hid', 2, NULL, 15, 1)`, nil},
	{`INSERT INTO uploads (id, repository, owner, charged, algorithm, size, hash_state, next_part, finished_digest, created_at, updated_at) VALUES
		('open', 'a', 'alice', 'net', 'sha256', 5, $1, 3, NULL, 20, 50),
		('new', 'a', 'bob', 'bob', 'sha512', 0, NULL, 1, NULL, 20, 60),
		('done', 'b', 'alice', 'net', 'sha256', 3, NULL, 1, 'one', 20, 55),
		('spare', '', '', '', '', 0, NULL, 1, NULL, 20, 65)`, []any{[]byte("state")}},
	{`INSERT INTO objects (key, upload_id, blob_id, seq, size, writer_until, delete_after, attempts, charged, claimed) VALUES
		('one/0', NULL, 1001, 0, 3, NULL, NULL, 0, NULL, NULL),
		('many/b', NULL, 1002, 0, 2, NULL, NULL, 0, NULL, NULL),
		('many/a', NULL, 1002, 3, 4, NULL, NULL, 0, NULL, NULL),
		('bad/0', NULL, 1003, 0, 4, NULL, NULL, 0, NULL, NULL),
		('hid/0', NULL, 1005, 0, 2, NULL, NULL, 0, NULL, NULL),
		('open/b', 'open', NULL, 0, 2, NULL, NULL, 0, NULL, NULL),
		('open/a', 'open', NULL, 1, 3, NULL, NULL, 0, NULL, NULL),
		('open/c', 'open', NULL, 2, NULL, 100, NULL, 0, 'net', 1000),
		('new/a', 'new', NULL, 0, NULL, 200, NULL, 0, NULL, NULL),
		('spare/a', 'spare', NULL, 0, NULL, 300, NULL, 0, NULL, NULL),
		('gone/b', NULL, NULL, 0, 8, NULL, 30, 0, NULL, NULL),
		('gone/a', NULL, NULL, 0, NULL, NULL, 40, 0, NULL, NULL),
		('gone/c', NULL, NULL, 0, 1, NULL, 50, 2, NULL, NULL),
		('gone/d', NULL, NULL, 0, NULL, 100, 100, 0, 'carol', 7)`, nil},
	{`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, subject_digest, annotations, descriptor_size, size, created_at, payload) VALUES
		(1001, 1002, 'img', 'image', 'type', NULL, 'null', 10, 4, 1, $1),
		(1002, 1002, 'idx', 'index', '', NULL, 'null', 10, 5, 1, $2),
		(1003, 1001, 'img', 'image', '', NULL, 'null', 10, 4, 1, $3)`, []any{[]byte("in a"), []byte("index"), []byte("in b")}},
	{`INSERT INTO repository_contents (repository_id, digest, blob_id, manifest_id, size, touched_at, hidden_at) VALUES
		(1002, 'one', 1001, NULL, 3, 1, NULL), (1002, 'many', 1002, NULL, 6, 1, NULL), (1002, 'bad', 1003, NULL, 4, 1, NULL),
		(1002, 'hid', 1005, NULL, 2, 1, 7), (1002, 'wait', NULL, NULL, 7, 1, NULL), (1002, 'any', NULL, NULL, -1, 1, NULL),
		(1002, 'img', NULL, 1001, 4, 1, NULL), (1002, 'idx', NULL, 1002, 5, 1, NULL),
		(1001, 'one', 1001, NULL, 3, 1, NULL), (1001, 'img', NULL, 1003, 4, 1, NULL), (1001, 'wait', NULL, NULL, 7, 1, NULL),
		(1003, 'one', 1001, NULL, 3, 1, NULL), (1003, 'bare', 1004, NULL, 5, 1, NULL)`, nil},
	{`INSERT INTO manifest_references (repository_id, manifest_id, digest, child) VALUES
		(1002, 1001, 'one', false), (1002, 1001, 'many', false), (1002, 1002, 'img', true), (1002, 1002, 'wait', true), (1001, 1003, 'one', false)`, nil},
	{`INSERT INTO tags (repository_id, name, manifest_id, updated_at) VALUES
		(1002, 'v1', 1001, 1), (1002, 'latest', 1001, 1), (1002, 'other', 1002, 1), (1001, 'latest', 1003, 1)`, nil},
}

// fill writes the fixture.
func (s *suite) fill() {
	s.Helper()
	write(s.T, s.db, func(tx *Tx) error {
		for _, f := range fixture {
			if _, err := tx.exec(f.query, f.args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// exec runs a statement that must go well.
func (s *suite) exec(query string, args ...any) {
	s.Helper()
	write(s.T, s.db, func(tx *Tx) error { _, err := tx.exec(query, args...); return err })
}

// within is the call of a method of a repository that is there.
func within(name string, call func(r Repo) (any, error)) func(*Tx) (any, error) {
	return func(tx *Tx) (any, error) {
		r, err := tx.Repo(name)
		if err != nil {
			return nil, err
		}
		return call(r)
	}
}

// nothing is the call of a function that returns an error alone.
func nothing(call func(tx *Tx) error) func(*Tx) (any, error) {
	return func(tx *Tx) (any, error) { return nil, call(tx) }
}

// nothingWithin is both.
func nothingWithin(name string, call func(r Repo) error) func(*Tx) (any, error) {
	return within(name, func(r Repo) (any, error) { return nil, call(r) })
}
