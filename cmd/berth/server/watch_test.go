package server

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestWatchedFiles has changes of files. Each is loaded once, when the files no longer change.
func TestWatchedFiles(t *testing.T) {
	dir := t.TempDir()
	one, two, next := filepath.Join(dir, "one"), filepath.Join(dir, "two"), filepath.Join(dir, "next")
	replace := func(path, content string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(next, []byte(content), 0o600), os.Rename(next, path)); err != nil {
			t.Fatal(err)
		}
	}
	replace(one, "1")
	reads := 0
	w := newWatcher(slog.New(slog.DiscardHandler))
	files := watchFiles("files", one, two)
	files.reload = func() error { reads++; return nil }
	w.add(files)
	looks := func(what string, want ...int) {
		t.Helper()
		for _, n := range want {
			if w.check(false); reads != n {
				t.Errorf("%s: read %d times, want %d", what, reads, n)
			}
		}
	}
	looks("nothing happened", 0, 0)
	replace(one, "2")
	looks("another file of the same size", 0, 1, 1)
	if err := os.WriteFile(one, []byte("22"), 0o600); err != nil {
		t.Fatal(err)
	}
	looks("written", 1)
	if err := os.WriteFile(one, []byte("222"), 0o600); err != nil {
		t.Fatal(err)
	}
	looks("still being written", 1, 2, 2)
	replace(two, "2")
	looks("made", 2, 3, 3)
	if err := os.Remove(one); err != nil {
		t.Fatal(err)
	}
	looks("removed", 3, 4, 4)
	if err := os.Symlink(two, one); err != nil {
		t.Fatal(err)
	}
	looks("linked", 4, 5, 5)
	if w.check(true); reads != 6 {
		t.Errorf("told to: read %d times", reads)
	}
	looks("after that", 6, 6)
	files.reload = func() error { return errors.New("line 7") }
	w.check(true)
	if ok, failed := testutil.ToFloat64(w.reloads.WithLabelValues("files", "ok")), testutil.ToFloat64(w.reloads.WithLabelValues("files", "failed")); ok != 6 || failed != 1 {
		t.Errorf("metrics: %v ok, %v failed", ok, failed)
	}
}
