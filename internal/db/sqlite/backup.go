package sqlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/berth-registry/berth/internal/durable"
)

// Backup writes a consistent copy of the database that url names to file, which must not
// exist (fs.ErrExist), in a directory that must. The copy is whole and durable when
// Backup returns nil; otherwise there is none. The database must exist; it is
// opened for reading only and not migrated. Another process may serve it: readers and writers go
// on meanwhile.
func Backup(ctx context.Context, url, file string) error {
	path, err := ParseURL(url)
	if err != nil {
		return err
	}
	if path == "" {
		return errors.New("a database in memory cannot be backed up")
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("backing up: %w", err)
	}
	c, err := connect(path, backupMode)
	if err != nil {
		return fmt.Errorf("backing up %s: %w", path, err)
	}
	return errors.Join(backup(ctx, c, file), c.close())
}

func backup(ctx context.Context, c *conn, file string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(file); err == nil {
		return &fs.PathError{Op: "backup", Path: file, Err: fs.ErrExist}
	}
	temp := file + ".tmp-" + rand.Text()[:8]
	err = copyTo(ctx, c, temp)
	if err == nil {
		err = durable.PublishNew(temp, file)
	}
	if err != nil {
		os.Remove(temp)
		return wrapNoSpace(fmt.Errorf("backing up to %s: %w", file, err))
	}
	return nil
}

// copyTo writes the copy to a new file. The copy is compact and in rollback
// mode, one file without a log; Open makes it a database like any other.
func copyTo(ctx context.Context, c *conn, file string) error {
	// VACUUM INTO takes an empty file; making it here sets who may read it.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	_, err = c.execContext(ctx, `VACUUM INTO $1`, file)
	return err
}
