package testserver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// PgBouncer starts a PgBouncer before the server of a URL of PostgresURL, with
// pool_mode=transaction, and returns a URL that leads through it. It ends with the test.
func PgBouncer(t testing.TB, url string) string {
	t.Helper()
	program := Program(t, "pgbouncer", "/usr/sbin")
	var asUser []string
	if os.Geteuid() == 0 { // as which it does not run
		asUser = []string{Program(t, "runuser"), "-u", "postgres", "--"}
	}
	_, rest, _ := strings.Cut(url, "@")
	server, _, _ := strings.Cut(rest, "/")
	_, serverPort, _ := net.SplitHostPort(server)
	addr := FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	dir, err := os.MkdirTemp(serverTempDir(), "berth-pgbouncer-")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"+
		"listen_port = %s\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n", serverPort, port)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	alive, err := supervise(runServer, append(append([]string{dir}, asUser...), program, "-q", file)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { alive.Close() })
	awaitListener(t, addr)
	return strings.Replace(url, server, addr, 1)
}

// awaitListener waits until a server listens.
func awaitListener(t testing.TB, addr string) {
	t.Helper()
	for range 1000 {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("nothing listens on %s", addr)
}
