package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/berth-registry/berth/internal/durable"
)

const lockName = "berth.lock"

// errLocked is the error of lockFile if another process holds the lock.
var errLocked = errors.New("locked by another process")

// lock is held by the only `serve` on a data directory. The kernel releases it when the process
// ends in any way. The files stay, and name the last holder.
type lock struct{ files []*os.File }

// takeLock locks the data directory and the file of the database, which may be elsewhere: two
// servers with different data directories must not share a database. Commands other than serve do
// not need the lock.
func takeLock(data, database string) (*lock, error) {
	paths := []string{filepath.Join(data, lockName)}
	if database != "" {
		dir, err := filepath.EvalSymlinks(filepath.Dir(database))
		if err != nil {
			return nil, fmt.Errorf("the directory of the database: %w", err)
		}
		paths = append(paths, filepath.Join(dir, filepath.Base(database)+".lock"))
	}
	l := &lock{}
	for _, path := range paths {
		if err := l.take(path); err != nil {
			return nil, errors.Join(err, l.release())
		}
	}
	return l, nil
}

func (l *lock) take(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the lock of the data directory: %w", errors.Join(err, deniedError(path)))
	}
	if err := lockFile(f); err != nil {
		holder := readHolder(f)
		f.Close()
		if errors.Is(err, errLocked) {
			return fmt.Errorf("another berth serve%s works on %s; one directory has one server at a time", holder, strings.TrimSuffix(path, lockName))
		}
		return fmt.Errorf("locking %s: %w", path, err)
	}
	l.files = append(l.files, f)
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if _, err := fmt.Fprintf(f, "process %d on %s\n", os.Getpid(), hostname()); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// deniedError returns an error that explains why the file of a lock may not be used, or nil.
func deniedError(path string) error {
	if why := durable.Denied(filepath.Dir(path), path); why != "" {
		return errors.New(why)
	}
	return nil
}

// readHolder returns the holder of the lock for a message, as in " (process 17 on host)", or "" if
// the file does not name one.
func readHolder(f *os.File) string {
	text, err := io.ReadAll(io.LimitReader(f, 300))
	if line := strings.TrimSpace(string(text)); err == nil && line != "" {
		return " (" + line + ")"
	}
	return ""
}

// release releases the lock. The files stay: if they were removed, one process could lock a new
// file while another one locks the removed file that it opened before.
func (l *lock) release() error {
	var wrong []error
	for _, f := range l.files {
		wrong = append(wrong, f.Close())
	}
	return errors.Join(wrong...)
}

// hostname returns the machine's name for messages.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return name
}
