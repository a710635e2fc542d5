package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLock(t *testing.T) {
	c := &Config{Data: t.TempDir()}
	c.Database.URL = "sqlite:" + filepath.Join(c.Data, "berth.db")
	held, err := takeLock(c)
	if err != nil {
		t.Fatal(err)
	}
	_, err = takeLock(c)
	if err == nil || !strings.Contains(err.Error(), c.Data) || !strings.Contains(err.Error(), "(process ") {
		t.Errorf("a second lock: %v", err)
	}
	if err := held.release(); err != nil {
		t.Fatal(err)
	}
	again, err := takeLock(c)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again.release(); err != nil {
		t.Fatal(err)
	}
}

// TestLockHoldsTheDatabase: two data directories with one database between them are one registry too.
func TestLockHoldsTheDatabase(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "shared.db")
	one, two := &Config{Data: t.TempDir()}, &Config{Data: t.TempDir()}
	one.Database.URL, two.Database.URL = url, url
	held, err := takeLock(one)
	if err != nil {
		t.Fatal(err)
	}
	defer held.release()
	if _, err := takeLock(two); err == nil || !strings.Contains(err.Error(), "shared.db") {
		t.Fatalf("a second server of the database: %v", err)
	}
	// Also where the database lies in the data directory of the first, and whatever the path to it.
	three, four := &Config{Data: t.TempDir()}, &Config{Data: t.TempDir()}
	three.Database.URL = "sqlite:" + filepath.Join(three.Data, "berth.db")
	own, err := takeLock(three)
	if err != nil {
		t.Fatal(err)
	}
	defer own.release()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(three.Data, link); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{three.Data, link} {
		four.Database.URL = "sqlite:" + filepath.Join(dir, "berth.db")
		if _, err := takeLock(four); err == nil || !strings.Contains(err.Error(), "berth.db") {
			t.Fatalf("a second server of the database in %s: %v", dir, err)
		}
	}
	// The refused one must not keep its own directory locked.
	two.Database.URL = "sqlite:" + filepath.Join(two.Data, "own.db")
	free, err := takeLock(two)
	if err != nil {
		t.Fatal(err)
	}
	if err := free.release(); err != nil {
		t.Fatal(err)
	}
}
