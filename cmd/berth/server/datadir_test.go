package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLock(t *testing.T) {
	data := t.TempDir()
	database := filepath.Join(data, "berth.db")
	held, err := takeLock(data, database)
	if err != nil {
		t.Fatal(err)
	}
	_, err = takeLock(data, database)
	if err == nil || !strings.Contains(err.Error(), data) || !strings.Contains(err.Error(), "(process ") {
		t.Errorf("a second lock: %v", err)
	}
	if err := held.release(); err != nil {
		t.Fatal(err)
	}
	again, err := takeLock(data, database)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again.release(); err != nil {
		t.Fatal(err)
	}
}

// TestLockHoldsTheDatabase: two servers with different data directories cannot share a database.
func TestLockHoldsTheDatabase(t *testing.T) {
	database := filepath.Join(t.TempDir(), "shared.db")
	two := t.TempDir()
	held, err := takeLock(t.TempDir(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	if _, err := takeLock(two, database); err == nil || !strings.Contains(err.Error(), "shared.db") {
		t.Fatalf("a second server of the database: %v", err)
	}
	// The same if the database is in the first one's data directory, under any path.
	three, four := t.TempDir(), t.TempDir()
	own, err := takeLock(three, filepath.Join(three, "berth.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer own.release()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(three, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{three, link} {
		if _, err := takeLock(four, filepath.Join(dir, "berth.db")); err == nil || !strings.Contains(err.Error(), "berth.db") {
			t.Fatalf("a second server of the database in %s: %v", dir, err)
		}
	}
	// A refused server must not keep the lock of its own directory.
	free, err := takeLock(two, filepath.Join(two, "own.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := free.release(); err != nil {
		t.Fatal(err)
	}
}
