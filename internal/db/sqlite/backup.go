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

// Backup writes a consistent copy of the database that url names to a new file. The directory of
// file must exist. If file exists, the error is fs.ErrExist. The copy is complete and durable when
// Backup returns nil; otherwise Backup leaves no copy.
//
// The database must exist. It is opened for reading only, and is not migrated. Another process may
// read and write it at the same time.
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
		return fmt.Errorf("backing up %s: %w", path, explainDenied(url, err))
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

// copyTo writes a compact copy to a new file. The copy has no write-ahead log until Open opens it.
func copyTo(ctx context.Context, c *conn, file string) error {
	// VACUUM INTO accepts an empty file. It is created here to set its permissions.
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
