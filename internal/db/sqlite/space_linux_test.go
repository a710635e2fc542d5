package sqlite

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

	"github.com/berth-registry/berth/internal/db"
)

// smallDisk returns a directory that is a file system of 2 MiB.
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

// TestDiskFull checks that a full disk fails only the transactions that need space, with
// db.ErrNoSpace, and that all works again when there is space.
func TestDiskFull(t *testing.T) {
	dir := smallDisk(t)
	url := "sqlite:" + filepath.Join(dir, "test.db")
	d := openTest(t, url, Options{})
	mustInsert(t, d, "first")

	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	big := func(tx *db.Tx) error {
		_, err := tx.Exec(`INSERT INTO items (name, data) VALUES ('big', $1)`, make([]byte, 3<<20))
		return err
	}
	kept := map[string]bool{"first": true}
	var mu sync.Mutex
	for round := range 3 {
		if err := d.Tx(context.Background(), big); !errors.Is(err, db.ErrNoSpace) {
			t.Errorf("round %d: got %v", round, err)
		}
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				name := fmt.Sprintf("%d-%d", round, i)
				err := d.Tx(context.Background(), func(tx *db.Tx) error {
					if i == 7 {
						if err := big(tx); err != nil {
							return err
						}
					}
					_, err := tx.Exec(`INSERT INTO items (name, data) VALUES ($1, $2)`, name, make([]byte, 8<<10))
					return err
				})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					kept[name] = true
				case !errors.Is(err, db.ErrNoSpace) || errors.Is(err, db.ErrUncertain):
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		wg.Wait()
		if got := names(t, d); len(got) != len(kept) { // readers still work
			t.Errorf("%d items, want %d", len(got), len(kept))
		}
	}
	if err := Backup(context.Background(), url, filepath.Join(dir, "copy")); !errors.Is(err, db.ErrNoSpace) {
		t.Errorf("backup: got %v", err)
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	mustInsert(t, d, "last")
	kept["last"] = true
	for _, name := range names(t, d) {
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
	if err := d.queryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity: %s, %v", verdict, err)
	}
}

// TestOpenOnFullDisk checks that Open fails on a full disk, and succeeds when there is space again.
func TestOpenOnFullDisk(t *testing.T) {
	dir := smallDisk(t)
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	url := "sqlite:" + filepath.Join(dir, "test.db")
	d, err := open(context.Background(), url, schemaUpTo(1), Options{})
	if err == nil {
		d.Close()
	}
	if !errors.Is(err, db.ErrNoSpace) {
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
