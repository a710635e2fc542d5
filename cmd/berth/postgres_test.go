package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestPostgres runs two servers on one database of PostgreSQL and one bucket, with commands beside
// them. A server is killed and started again.
func TestPostgres(t *testing.T) {
	t.Parallel()
	data, url := newData(t), testserver.PostgresURL(t)
	url = strings.Replace(url, "postgres@", "postgres:hidden@", 1) // which the server does not ask for
	on := []string{"--storage-bucket", "file://" + filepath.ToSlash(t.TempDir()), "--database-url", url}
	run := func(input, command string) result {
		return berthReading(t, input, nil, append(append(strings.Fields(command), "--data", data), on...)...)
	}
	if r := run("", "user list"); r.code != 1 || !strings.Contains(r.stderr, "the first start of berth serve makes them") || strings.Contains(r.stderr, "hidden") {
		t.Errorf("before the first start: %+v", r)
	}
	first := serve(t, data, nil, on...)
	second := serve(t, data, nil, on...)
	if _, err := os.Stat(data); err == nil {
		t.Errorf("%s was made, which nothing uses", data)
	}
	manifest, err := pushImage(first.url, "app", "v1", []byte("layer"))
	if err != nil {
		t.Fatal(err)
	}
	if err := pullImage(second.url, "app", "v1", manifest, []byte("layer")); err != nil {
		t.Error(err)
	}
	first.signal(syscall.SIGKILL)
	<-first.done
	first = serve(t, data, nil, on...)
	if err := pullImage(first.url, "app", "v1", manifest, []byte("layer")); err != nil {
		t.Error(err)
	}
	for _, test := range []struct{ input, command, want string }{
		{"secret\n", "user add alice --password-stdin", "alice"},
		{"", "user list", "alice"},
		{"", "robot create ci --scope repository:**:pull", ""},
		{"", "token list", ""},
		{"", "key list", ""},
	} {
		if r := run(test.input, test.command); r.code != 0 || !strings.Contains(r.stdout, test.want) {
			t.Errorf("%s: %+v", test.command, r)
		}
	}
	for _, p := range []*program{first, second} {
		if status, _, answer := p.request("GET", "/v2/", nil); status != 401 {
			t.Errorf("after the first user: %d %s", status, answer)
		}
	}
	environ := []string{"BERTH_DATABASE_URL=" + url}
	for command, want := range map[string]string{"backup copy.db": "pg_dump", "config check": "postgres:********@"} {
		r := berth(t, environ, strings.Fields(command)...)
		if !strings.Contains(r.stdout+r.stderr, want) || strings.Contains(r.stdout+r.stderr, "hidden") {
			t.Errorf("%s: %+v", command, r)
		}
	}
	if log := first.log.String() + second.log.String(); strings.Contains(log, "hidden") || !strings.Contains(log, "postgres:********@") {
		t.Errorf("the log: %s", log)
	}
	first.stop()
	second.stop()
}

// TestPostgresKeepsDataDirectory checks that a server whose bucket is in the data directory locks
// it, and that a server on a database that is not there says so without the password.
func TestPostgresKeepsDataDirectory(t *testing.T) {
	t.Parallel()
	data, url := newData(t), testserver.PostgresURL(t)
	p := serve(t, data, nil, "--database-url", url)
	if r := berth(t, nil, "serve", "--data", data, "--addr", "127.0.0.1:0", "--database-url", url); r.code != 1 || !strings.Contains(r.stderr, "one directory has one server at a time") {
		t.Errorf("a second server: %+v", r)
	}
	if entries, err := filepath.Glob(filepath.Join(data, "*")); err != nil || len(entries) != 2 {
		t.Errorf("the data directory has %q, want blobs and the lock", entries)
	}
	p.stop()
	gone := "postgres://berth:hidden@127.0.0.1:1/berth?sslmode=disable"
	if r := berth(t, nil, "serve", "--data", newData(t), "--addr", "127.0.0.1:0", "--database-url", gone); r.code != 1 || strings.Contains(r.stderr, "hidden") ||
		!strings.Contains(r.stderr, "postgres://berth:********@127.0.0.1:1/berth") {
		t.Errorf("without a server: %+v", r)
	}
}
