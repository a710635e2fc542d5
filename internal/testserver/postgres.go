package testserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Postgres is a PostgreSQL server on a port of 127.0.0.1. Its superuser postgres needs no password;
// a role with_password, which a test may make, does. The server ends with the test process, and its
// directory is removed, also if the process is killed.
type Postgres struct {
	Addr string // HOST:PORT

	bin, dir string
	asUser   []string  // the command line that runs a program as the server's user
	alive    io.Closer // the server ends when this is closed

	mu        sync.Mutex // guards databases; held while one is made
	databases int        // how many were made
}

// shared is the server of PostgresURL.
var shared struct {
	mu       sync.Mutex
	server   *Postgres
	filled   sync.Once
	template string // set by filled
}

// PostgresURL returns the URL of a new empty database on a server that the tests of this process
// share. The database is dropped when the test ends.
func PostgresURL(t testing.TB) string {
	t.Helper()
	return sharedPostgres(t).temporary(t, emptyTemplate)
}

// PostgresCopy is like PostgresURL, for a copy of a database that fill has filled. fill runs once
// in a process, so that all calls have the same. It must leave no connection open.
func PostgresCopy(t testing.TB, fill func(url string)) string {
	t.Helper()
	p := sharedPostgres(t)
	shared.filled.Do(func() {
		shared.template = p.create(t, emptyTemplate)
		fill(p.URL(shared.template))
	})
	return p.temporary(t, shared.template)
}

// sharedPostgres returns the server that the tests of this process share.
func sharedPostgres(t testing.TB) *Postgres {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.server == nil {
		shared.server = startPostgres(t)
	}
	return shared.server
}

// NewPostgres starts a server that a test does not share, so that it may stop it. settings are
// lines of its configuration file. The server ends with the test.
func NewPostgres(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	p := startPostgres(t, settings...)
	t.Cleanup(func() { p.alive.Close() })
	return p
}

func startPostgres(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	p := &Postgres{bin: postgresPrograms(t)}
	owner := p.findUser(t)
	// Not below t.TempDir: the server's user must be able to enter the parents.
	dir, err := os.MkdirTemp(serverTempDir(), "berth-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	p.dir = dir
	if owner != nil {
		uid, _ := strconv.Atoi(owner.Uid)
		gid, _ := strconv.Atoi(owner.Gid)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	p.guard(t)
	p.run(t, "initdb", "--auth=trust", "--username=postgres", "--locale=C.UTF-8", "--no-sync", "-D", p.dataDir())
	p.configure(t, settings)
	p.Start(t)
	return p
}

// postgresPrograms returns the directory of the newest installed server's programs.
func postgresPrograms(t testing.TB) string {
	t.Helper()
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	for i, j := 0, len(dirs)-1; i < j; i, j = i+1, j-1 {
		dirs[i], dirs[j] = dirs[j], dirs[i]
	}
	return filepath.Dir(Program(t, "pg_ctl", dirs...))
}

// findUser sets asUser. It returns the user of the server, or nil if it is the test's own: the
// server refuses to run as root.
func (p *Postgres) findUser(t testing.TB) *user.User {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := user.Lookup("postgres")
	if err != nil {
		SkipOrFail(t, "there is no user postgres: %v", err)
	}
	p.asUser = []string{Program(t, "runuser"), "-u", "postgres", "--"}
	return owner
}

// serverTempDir returns a directory for servers' files. One in memory is preferred if it has room:
// the server syncs many files when a database is made or dropped.
func serverTempDir() string {
	const memory, wantKiB = "/dev/shm", 2 << 20
	out, err := exec.Command("df", "-k", "--output=avail", memory).Output()
	if fields := strings.Fields(string(out)); err == nil && len(fields) == 2 {
		if free, err := strconv.Atoi(fields[1]); err == nil && free >= wantKiB {
			return memory
		}
	}
	if _, err := os.Stat("/tmp"); err == nil {
		return "/tmp"
	}
	return os.TempDir()
}

func (p *Postgres) dataDir() string { return filepath.Join(p.dir, "data") }

// guard makes the server stop and its directory go when the test process has ended.
func (p *Postgres) guard(t testing.TB) {
	t.Helper()
	args := append([]string{p.dir}, p.asUser...)
	args = append(args, filepath.Join(p.bin, "pg_ctl"), "-D", p.dataDir(), "-m", "immediate", "-s", "stop")
	alive, err := supervise(`read -r _; dir=$1; shift; "$@"; rm -rf "$dir"`, args...)
	if err != nil {
		t.Fatal(err)
	}
	p.alive = alive
}

// run runs a program of the server as its user.
func (p *Postgres) run(t testing.TB, program string, args ...string) {
	t.Helper()
	line := append(append([]string{}, p.asUser...), append([]string{filepath.Join(p.bin, program)}, args...)...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Dir = p.dir
	// A file, not a pipe: the server inherits it, and a pipe would be read until the server ends.
	output := filepath.Join(p.dir, "output")
	f, err := os.Create(output)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(output)
		log, _ := os.ReadFile(filepath.Join(p.dir, "data", "log"))
		t.Fatalf("%s: %v\n%s%s", program, err, said, log)
	}
}

// configure writes the server's settings. Pages are not written whole to the log, since no test
// cuts the power.
func (p *Postgres) configure(t testing.TB, settings []string) {
	t.Helper()
	p.Addr = FreeAddr(t)
	_, port, _ := net.SplitHostPort(p.Addr)
	settings = append([]string{
		"port = " + port, "listen_addresses = '127.0.0.1'", "unix_socket_directories = ''",
		"full_page_writes = off", "max_wal_size = 128MB", "max_connections = 300", "log_min_messages = fatal",
	}, settings...)
	f, err := os.OpenFile(filepath.Join(p.dataDir(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(strings.Join(settings, "\n") + "\n"); err != nil {
		t.Fatal(err)
	}
	p.WriteFile(t, "pg_hba.conf", "host all with_password all scram-sha-256\nhost all all all trust\n")
}

// WriteFile writes a file of the server's data directory.
func (p *Postgres) WriteFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dataDir(), name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Start starts the server and waits until it accepts connections.
func (p *Postgres) Start(t testing.TB) {
	t.Helper()
	p.run(t, "pg_ctl", "-D", p.dataDir(), "-l", filepath.Join(p.dataDir(), "log"), "-w", "-s", "start")
}

// Stop stops the server. mode is fast or immediate. The latter loses what was not written, as a
// crash does.
func (p *Postgres) Stop(t testing.TB, mode string) {
	t.Helper()
	p.run(t, "pg_ctl", "-D", p.dataDir(), "-m", mode, "-w", "-s", "stop")
}

// URL returns the URL of a database.
func (p *Postgres) URL(database string) string {
	return "postgres://postgres@" + p.Addr + "/" + database + "?sslmode=disable"
}

// emptyTemplate is the database whose copy is empty.
const emptyTemplate = "template1"

// NewDatabase makes an empty database and returns its URL.
func (p *Postgres) NewDatabase(t testing.TB) string {
	t.Helper()
	return p.URL(p.create(t, emptyTemplate))
}

// temporary makes a copy of a database, which is dropped when the test ends, and returns its URL.
func (p *Postgres) temporary(t testing.TB, template string) string {
	t.Helper()
	name := p.create(t, template)
	t.Cleanup(func() { p.Exec(t, "DROP DATABASE "+name+" WITH (FORCE)") })
	return p.URL(name)
}

// create makes a copy of a database and returns its name.
func (p *Postgres) create(t testing.TB, template string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.databases++
	name := fmt.Sprintf("test%d", p.databases)
	p.Exec(t, "CREATE DATABASE "+name+" TEMPLATE "+template+" STRATEGY file_copy") // the faster one
	return name
}

// Exec runs SQL as the superuser, in the database postgres.
func (p *Postgres) Exec(t testing.TB, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := pgconn.Connect(ctx, p.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if err := c.Exec(ctx, sql).Close(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
