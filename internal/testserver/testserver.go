// Package testserver starts real servers of other projects for tests. A test whose server is not
// installed is skipped. With BERTH_TEST_ALL=1 in the environment it fails instead.
package testserver

import (
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
)

// SkipOrFail skips the test, or fails it if BERTH_TEST_ALL=1.
func SkipOrFail(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("BERTH_TEST_ALL") == "1" {
		t.Fatalf("BERTH_TEST_ALL=1, but "+format, args...)
	}
	t.Skipf(format, args...)
}

// Program returns the path of an installed program. Besides PATH it looks in dirs.
func Program(t testing.TB, name string, dirs ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range dirs {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path
		}
	}
	SkipOrFail(t, "%s is not installed", name)
	return ""
}

// supervise runs a script of the shell with arguments. The script begins and ends a server: its
// standard input ends when the test process has ended in any way, or the result is closed.
func supervise(script string, args ...string) (io.Closer, error) {
	cmd := exec.Command("sh", append([]string{"-c", "trap : INT TERM HUP; " + script, "sh"}, args...)...)
	cmd.Dir = "/"
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	return alive, cmd.Start()
}

// FreeAddr returns an address of 127.0.0.1 on which nothing listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
