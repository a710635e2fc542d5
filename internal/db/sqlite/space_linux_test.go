package meta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk is a directory on a file system of its own of 2 MiB.
func smallDisk(t *testing.T) string {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		if os.Getenv("BERTH_TEST_ALL") == "1" {
			t.Fatalf("mounting a small tmpfs: %v", err)
		}
		t.Skipf("a full disk is tested on a small tmpfs, which only root may mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// A full disk fails the transactions that need space with ErrNoSpace and
// nothing else; when space is back, so is everything.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t)
	db := openTest(t, "sqlite:"+filepath.Join(dir, "test.db"), Options{})
	mustInsert(t, db, "first")

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	big := func(tx *Tx) error {
		_, err := tx.exec(`INSERT INTO items (name, data) VALUES ('big', $1)`, make([]byte, 3<<20))
		return err
	}
	kept := map[string]bool{"first": true}
	var mu sync.Mutex
	for round := range 3 {
		if err := db.Tx(context.Background(), big); !errors.Is(err, ErrNoSpace) {
			t.Errorf("round %d: got %v", round, err)
		}
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				name := fmt.Sprintf("%d-%d", round, i)
				err := db.Tx(context.Background(), func(tx *Tx) error {
					if i == 7 {
						if err := big(tx); err != nil {
							return err
						}
					}
					_, err := tx.exec(`INSERT INTO items (name, data) VALUES ($1, $2)`, name, make([]byte, 8<<10))
					return err
				})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					kept[name] = true
				case !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrUncertain):
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
		if got := names(t, db); len(got) != len(kept) { // readers go on
			t.Errorf("%d items, want %d", len(got), len(kept))
		}
	}
	if err := db.Backup(context.Background(), filepath.Join(dir, "copy")); !errors.Is(err, ErrNoSpace) {
		t.Errorf("backup: got %v", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustInsert(t, db, "last")
	kept["last"] = true
	for _, name := range names(t, db) {
		if !kept[name] {
			t.Errorf("%s is there though its transaction failed", name)
		}
		delete(kept, name)
	}
	if len(kept) != 0 {
		t.Errorf("lost: %v", kept)
	}
	if _, err := os.Stat(filepath.Join(dir, "copy")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("half a backup was left: %v", err)
	}
	var verdict string
	if err := db.queryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity: %s, %v", verdict, err)
	}
}

// A database cannot be opened on a full disk, and can afterwards.
func TestOpenOnFullDisk(t *testing.T) {
	dir := smallDisk(t)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	url := "sqlite:" + filepath.Join(dir, "test.db")
	db, err := open(context.Background(), url, Options{}, schemaUpTo(1))
	if err == nil {
		db.Close()
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Errorf("got %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustInsert(t, openTest(t, url, Options{}), "a")
}

// fill writes to a file until the disk is full.
func fill(t *testing.T, file string) {
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
}
