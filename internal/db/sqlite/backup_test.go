package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/berth-registry/berth/internal/db"
)

func TestBackup(t *testing.T) {
	url := fileURL(t)
	d := openTest(t, url, Options{})
	mustInsert(t, d, "a")
	dir := t.TempDir()
	file := filepath.Join(dir, "co'py.db")
	if err := Backup(context.Background(), url, file); err != nil {
		t.Fatal(err)
	}
	mustInsert(t, d, "b")
	if err := Backup(context.Background(), url, file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("overwriting: %v", err)
	}
	if err := Backup(context.Background(), url, filepath.Join(dir, "absent", "copy")); err == nil {
		t.Error("a backup into a directory that is not there")
	}
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Backup(canceled, url, filepath.Join(dir, "canceled")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("%v, %v", info, err)
	}
	if got := names(t, openTest(t, "sqlite:"+file, Options{})); len(got) != 1 {
		t.Errorf("the copy has %v", got)
	}
	mustInsert(t, d, "c")
}

// TestBackupWhileWriting checks that a copy that is made beside writers has only complete
// transactions.
func TestBackupWhileWriting(t *testing.T) {
	url := fileURL(t)
	d := openTest(t, url, Options{})
	d.maxBatchTime = maxBatchTime
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for i := 0; err == nil; i++ {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			err = d.Tx(context.Background(), func(tx *db.Tx) error {
				return errors.Join(insert(tx, fmt.Sprint(i, "a")), insert(tx, fmt.Sprint(i, "b")))
			})
		}
		stopped <- err
		<-stop
	}()
	dir := t.TempDir()
	for i := range 5 {
		file := filepath.Join(dir, fmt.Sprint(i))
		if err := Backup(context.Background(), url, file); err != nil {
			t.Error(err)
			break
		}
		var verdict string
		backup := openTest(t, "sqlite:"+file, Options{})
		if err := backup.queryRow(`PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
			t.Errorf("integrity: %s, %v", verdict, err)
		}
		if n := len(names(t, backup)); n%2 != 0 {
			t.Errorf("the copy has %d items", n)
		}
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestBackupOfStopped copies a database that nothing has open, and checks that a missing one is not
// created.
func TestBackupOfStopped(t *testing.T) {
	url, dir := fileURL(t), t.TempDir()
	if err := Backup(context.Background(), url, filepath.Join(dir, "a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := reopen(t, url, 1); err != nil {
		t.Fatal(err)
	}
	if err := Backup(context.Background(), url, filepath.Join(dir, "a")); err != nil {
		t.Error(err)
	}
	if err := Backup(context.Background(), "sqlite::memory:", filepath.Join(dir, "b")); err == nil {
		t.Error("a backup of nothing")
	}
	if err := reopen(t, "sqlite:"+filepath.Join(dir, "a"), 1); err != nil {
		t.Error(err)
	}
}
