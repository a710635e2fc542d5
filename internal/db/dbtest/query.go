package dbtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"sync"

	"github.com/berth-registry/berth/internal/db"
)

func (s *suite) testNoRow() {
	var id int64
	if err := s.db.QueryRow(context.Background(), `SELECT id FROM items`).Scan(&id); !errors.Is(err, fs.ErrNotExist) {
		s.Errorf("got %v", err)
	}
	s.must(s.tx(func(tx *db.Tx) error {
		if err := tx.QueryRow(`SELECT id FROM items`).Scan(&id); !errors.Is(err, fs.ErrNotExist) {
			s.Errorf("got %v", err)
		}
		if n, err := tx.Exec(`UPDATE items SET name = 'b'`); n != 0 || err != nil {
			s.Errorf("changed %d, %v", n, err)
		}
		return insert(tx, "a") // the transaction goes on after a query without rows
	}))
	s.wantNames("a")
}

// testLocks checks that a query with a locking clause returns what it would without.
func (s *suite) testLocks() {
	s.insert("a", "b")
	for _, clause := range []string{"FOR KEY SHARE", "FOR NO KEY UPDATE", "FOR UPDATE SKIP LOCKED"} {
		s.must(s.tx(func(tx *db.Tx) error {
			var name string
			err := tx.QueryRow(`SELECT name FROM items WHERE name > $1`+s.db.LockClause(clause), "a").Scan(&name)
			if name != "b" {
				s.Errorf("%s: got %q", clause, name)
			}
			return err
		}))
	}
}

// testClock checks that the clock counts microseconds since 1970, in queries and in transactions.
func (s *suite) testClock() {
	read := func() (now int64) {
		s.must(s.db.QueryRow(context.Background(), `SELECT `+s.db.Clock()).Scan(&now))
		return now
	}
	first, second := read(), int64(0)
	s.must(s.tx(func(tx *db.Tx) error { return tx.QueryRow(`SELECT ` + s.db.Clock()).Scan(&second) }))
	if last := read(); first > second || second > last || first < 1e15 || last > 1e16 {
		s.Errorf("the clock showed %d, %d, %d", first, second, last)
	}
}

// testValues checks that values of each type are read as they were written.
func (s *suite) testValues() {
	for i, want := range []struct {
		size   *int64
		listed bool
		data   []byte
	}{
		{new(int64(-1)), true, []byte{0, 255}},
		{new(int64(1) << 62), false, []byte("ä")},
		{nil, false, nil},
	} {
		name := fmt.Sprintf("ä %d '\"$1", i)
		got := want
		got.size, got.listed, got.data = nil, !want.listed, []byte("other")
		s.must(s.tx(func(tx *db.Tx) error {
			return tx.QueryRow(`INSERT INTO items (name, size, listed, data) VALUES ($1, $2, $3, $4) RETURNING size, listed, data`,
				name, want.size, want.listed, want.data).Scan(&got.size, &got.listed, &got.data)
		}))
		if !reflect.DeepEqual(got, want) {
			s.Errorf("%v came back as %v", want, got)
		}
		var back string
		s.must(s.db.QueryRow(context.Background(), `SELECT name FROM items WHERE name = $1`, name).Scan(&back))
		if back != name {
			s.Errorf("%q came back as %q", name, back)
		}
	}
	// Placeholders refer to arguments by number.
	var first, second string
	s.must(s.db.QueryRow(context.Background(), `SELECT name, $2 || $1 FROM items WHERE name <> $1 ORDER BY name LIMIT 1`, "a", "b").Scan(&first, &second))
	if second != "ba" {
		s.Errorf("$2 || $1 is %q", second)
	}
}

// testLists passes a list of strings as one argument.
func (s *suite) testLists() {
	strange := `'"\ä` + "\u2028<&>"
	names := []string{"a", "b", strange}
	s.must(s.tx(func(tx *db.Tx) error {
		n, err := tx.Exec(`INSERT INTO items (name, size) SELECT value, $2 FROM `+s.db.ListTable(1), names, 7)
		if n != 3 {
			s.Errorf("inserted %d", n)
		}
		return err
	}))
	s.wantNames(strange, "a", "b")
	for _, test := range []struct {
		list []string
		want int
	}{{names, 3}, {[]string{"b", "b", "c"}, 1}, {[]string{}, 0}, {nil, 0}} {
		var in, joined int
		s.must(s.db.QueryRow(context.Background(), `SELECT COUNT(*) FROM items WHERE name IN (SELECT value FROM `+s.db.ListTable(1)+`)`, test.list).Scan(&in))
		s.must(s.db.QueryRow(context.Background(), `SELECT COUNT(DISTINCT i.id) FROM `+s.db.ListTable(1)+`
			JOIN items i ON i.name = list.value WHERE i.size = $2`, test.list, 7).Scan(&joined))
		if in != test.want || joined != test.want {
			s.Errorf("of %q: %d and %d are there, want %d", test.list, in, joined, test.want)
		}
	}
}

func (s *suite) testListsOfStructs() {
	type item struct {
		Name   string `json:"name"`
		Size   int64  `json:"size"`
		Listed bool   `json:"listed"`
	}
	put := func(items []item) (n int64) {
		s.must(s.tx(func(tx *db.Tx) (err error) {
			n, err = tx.Exec(`INSERT INTO items (name, size, listed)
				SELECT name, size + $2, listed FROM `+s.db.ListTable(1, "name text", "size bigint", "listed boolean")+`
				WHERE true ON CONFLICT (name) DO NOTHING`, items, 1)
			return err
		}))
		return n
	}
	if n := put([]item{{"a", 1 << 40, true}, {`"`, -2, false}, {"a", 3, true}}); n != 2 {
		s.Errorf("inserted %d", n)
	}
	if n := put(nil); n != 0 {
		s.Errorf("inserted %d of none", n)
	}
	for name, want := range map[string]item{"a": {"a", 1<<40 + 1, true}, `"`: {`"`, -1, false}} {
		got := item{Name: name}
		s.must(s.db.QueryRow(context.Background(), `SELECT size, listed FROM items WHERE name = $1`, name).Scan(&got.Size, &got.Listed))
		if got != want {
			s.Errorf("got %v, want %v", got, want)
		}
	}
}

// testScan checks that a scan returns rows in order, stops when it is told to, and releases its
// connection.
func (s *suite) testScan() {
	s.insert("a", "b", "c")
	wrong := errors.New("wrong")
	for range 20 { // more than there are connections
		for n, want := range []string{"", "[a]", "[a b]", "[a b c]", "[a b c]"} {
			var names []string
			err := s.db.Scan(context.Background(), `SELECT name FROM items WHERE name <> $1 ORDER BY name`, []any{"x"}, func(row db.Row) (bool, error) {
				if n == 0 {
					return true, wrong
				}
				var name string
				err := row.Scan(&name)
				names = append(names, name)
				return len(names) < n, err
			})
			if got := fmt.Sprint(names); n == 0 && !errors.Is(err, wrong) || n > 0 && (err != nil || got != want) {
				s.Fatalf("until %d: %s, %v, want %s", n, got, err, want)
			}
		}
	}
	if err := s.db.Scan(context.Background(), `SELECT nothing FROM items`, nil, nil); err == nil {
		s.Error("a scan without a column worked")
	}
}

// testScansWait checks that a waiting scan ends when its context ends.
func (s *suite) testScansWait() {
	release := make(chan struct{})
	var wg sync.WaitGroup
	for range 64 { // more than there are connections
		wg.Go(func() {
			err := s.db.Scan(context.Background(), `SELECT 1`, nil, func(db.Row) (bool, error) {
				<-release
				return true, nil
			})
			if err != nil {
				s.Error(err)
			}
		})
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var err error
	for err == nil { // until the other scans occupy all slots
		err = s.db.Scan(ended, `SELECT 1`, nil, func(db.Row) (bool, error) { return true, nil })
	}
	if !errors.Is(err, context.Canceled) {
		s.Errorf("got %v", err)
	}
	close(release)
	wg.Wait()
}

func (s *suite) testClose() {
	s.insert("a")
	s.must(s.db.Close())
	s.must(s.db.Close())
	err := s.db.Scan(context.Background(), `SELECT 1`, nil, func(db.Row) (bool, error) { return true, nil })
	for what, err := range map[string]error{
		"a query":       s.db.QueryRow(context.Background(), `SELECT 1`).Scan(new(int64)),
		"a scan":        err,
		"a transaction": s.tx(func(*db.Tx) error { return nil }),
	} {
		if !errors.Is(err, db.ErrClosed) {
			s.Errorf("%s: got %v", what, err)
		}
	}
}
