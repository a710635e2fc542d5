package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/testserver"
)

// testSchema is the schema of a program with n migrations.
func testSchema(n int) db.Schema {
	all := []string{
		"CREATE TABLE items (name TEXT PRIMARY KEY, size BIGINT);\nCREATE TABLE oldest (program BIGINT);\nINSERT INTO oldest VALUES (1);",
		"ALTER TABLE items ADD COLUMN note TEXT;\nUPDATE oldest SET program = 2;",
		"ALTER TABLE items ADD COLUMN other TEXT;",
	}
	files := fstest.MapFS{}
	for i, text := range all[:n] {
		files["postgres/0000"+string(rune('1'+i))+"_x.sql"] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text)}
	}
	return db.Schema{Files: files, Version: n, OldestProgramSQL: `SELECT COALESCE(MAX(program), 0) FROM oldest`}
}

// openTest opens a database with the first migration and closes it when the test ends.
func openTest(t *testing.T, url string, o Options) *engine {
	t.Helper()
	o.Migrate = true
	e, err := open(t.Context(), url, testSchema(1), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func (e *engine) insert(name string) error {
	return e.Tx(context.Background(), func(tx *db.Tx) error { return insert(tx, name) })
}

func insert(tx *db.Tx, name string) error {
	_, err := tx.Exec(`INSERT INTO items (name) VALUES ($1)`, name)
	return err
}

// names returns the names of the items.
func names(t *testing.T, e *engine) (list []string) {
	t.Helper()
	rows, err := e.Query(t.Context(), `SELECT name FROM items ORDER BY name`, nil, -1)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	return list
}

func wantNames(t *testing.T, e *engine, want ...string) {
	t.Helper()
	if got := names(t, e); !slices.Equal(got, want) {
		t.Errorf("the items are %q, want %q", got, want)
	}
}

// proxy stands between the engine and a server. It forwards what both send until arm is called;
// then it calls the function of arm with what the client sends next.
type proxy struct {
	net.Listener
	to    string
	armed atomic.Pointer[func(client, server net.Conn, data []byte)]
	wg    sync.WaitGroup
}

// startProxy starts a proxy to the server of url, and returns it with a URL that leads through it.
func startProxy(t *testing.T, server *testserver.Postgres, url string) (*proxy, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: server.Addr}
	p.wg.Go(p.serve)
	t.Cleanup(func() { l.Close(); p.wg.Wait() })
	return p, strings.Replace(url, server.Addr, l.Addr().String(), 1)
}

func (p *proxy) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.forward(client) })
	}
}

func (p *proxy) forward(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	p.wg.Go(func() { _, _ = io.Copy(client, server); client.Close() })
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if f := p.armed.Swap(nil); f != nil {
			(*f)(client, server, buf[:n])
			return
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// arm makes f handle what the client sends next. Afterwards the connection is cut.
func (p *proxy) arm(f func(client, server net.Conn, data []byte)) { p.armed.Store(&f) }

// faults fails the steps of a commit that it has.
type faults map[string]error

func (f faults) fail(step string) error {
	err := f[step]
	delete(f, step)
	return err
}

var errWrong = errors.New("wrong")
