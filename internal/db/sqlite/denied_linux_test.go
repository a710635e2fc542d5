package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// stranger is a user that owns nothing here.
const stranger = 65533

// asStranger runs f as another user. The process must be root's.
func asStranger(t *testing.T, f func()) {
	t.Helper()
	if err := syscall.Setresuid(stranger, stranger, 0); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setresuid(0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

// TestDeniedIsExplained: a database that belongs to another user is named, with its owner and the
// fix, which is never to give away a directory: that may be /tmp.
func TestDeniedIsExplained(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("BERTH_TEST_ALL") != "" {
			t.Fatal("needs root, to run as two users")
		}
		t.Skip("needs root, to run as two users")
	}
	for name, c := range map[string]struct {
		denied string                  // the file that is named, beside the database
		advice string                  // DB is the database
		change func(path string) error // makes it so
	}{
		"directory": {"", "run it as the owner (", func(path string) error { return os.Chmod(filepath.Dir(path), 0o755) }},
		"hidden":    {"", "run it as the owner (", func(path string) error { return os.Chmod(filepath.Dir(path), 0o700) }},
		"files":     {"berth.db", "chown 65533 DB DB-wal DB-shm (", func(string) error { return nil }},
		"log":       {"berth.db-wal", "chown 65533 DB-wal (", func(path string) error { return errors.Join(os.Chmod(path, 0o666), os.Chmod(path+"-shm", 0o666)) }},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("/tmp", "denied")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			path := filepath.Join(dir, "berth.db")
			d, err := Open(t.Context(), "sqlite:"+path, schemaUpTo(len(testSchema)), Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close() // open, so that there is a log
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := c.change(path); err != nil {
				t.Fatal(err)
			}
			asStranger(t, func() {
				_, err = Open(t.Context(), "sqlite:"+path, schemaUpTo(len(testSchema)), Options{})
			})
			advice := strings.ReplaceAll(c.advice, "DB", path)
			for _, want := range []string{filepath.Join(dir, c.denied) + " has mode", "root (uid 0)", "runs as uid 65533", advice} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
		})
	}
}

// TestDirectoryIsNoDatabase: the path of a directory is told as such.
func TestDirectoryIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(t.Context(), "sqlite:"+dir, schemaUpTo(len(testSchema)), Options{}); err == nil || !strings.Contains(err.Error(), dir+" is a directory") {
		t.Errorf("%v", err)
	}
}
