package dir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/berth-registry/berth/storage/bucket"
)

// Put implements [bucket.Store]. If the key exists, the error is fs.ErrExist; only the marker is
// replaced.
//
//	open(directory)
//	open(file, O_CREAT|O_EXCL)
//	write(file), for each buffer
//	fsync(file)
//	close(file)
//	rename(file, marker), for the marker
//	fsync(directory)
//	close(directory)
//
// Each Put opens the directory itself, before it creates the file. The kernel reports a failed
// write of the directory once to each descriptor that is open at the time. With a shared descriptor
// only one of several Puts would see the error.
func (s *Store) Put(ctx context.Context, key string, src io.Reader, sum io.Writer) (n int64, err error) {
	if err := bucket.CheckKey(key); err != nil {
		return 0, err
	}
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	o, err := s.create(key)
	if err == nil {
		defer o.close()
		n, err = s.buffers.Copy(ctx, src, sum, o.write)
	}
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = o.publish()
	}
	if err != nil {
		return n, fmt.Errorf("bucket: put %s: %w", key, err)
	}
	return n, nil
}

// CheckSpace implements [bucket.Store]. It checks nothing: only Put finds that the disk is full.
func (s *Store) CheckSpace() error { return nil }

// objectWriter writes one object.
type objectWriter struct {
	disk disk
	file *os.File // nil after it is closed
	dir  *os.File // the directory that names it

	path      string // of the file
	final     string // of the object
	published bool   // the object is there, if perhaps not durably
}

// create creates the file of an object. It does not create a missing directory: that would not be
// durable, or might be below the mount point of a disk that is not mounted.
func (s *Store) create(key string) (*objectWriter, error) {
	o := &objectWriter{disk: s.disk, final: s.path(key)}
	o.path = o.final
	if key == bucket.Marker {
		o.path += temporarySuffix()
	}
	var err error
	if o.dir, err = s.disk.openDir(s.path(path.Dir(key))); err != nil {
		return nil, wrapNoSpace(err)
	}
	if o.file, err = s.disk.create(o.path); err != nil {
		o.dir.Close()
		return nil, wrapNoSpace(err)
	}
	return o, nil
}

// write appends p.
func (o *objectWriter) write(p []byte) error {
	return wrapNoSpace(o.disk.write(o.file, p))
}

// publish makes the file durable, renames it if it has a temporary name, and makes its name
// durable.
func (o *objectWriter) publish() error {
	if err := o.disk.sync(o.file); err != nil { // durable: file
		return wrapNoSpace(err)
	}
	err := o.file.Close()
	o.file = nil
	if err != nil {
		return wrapNoSpace(err)
	}
	if o.path != o.final {
		if err := o.disk.rename(o.path, o.final); err != nil {
			return wrapNoSpace(err)
		}
	}
	o.published = true
	return wrapNoSpace(o.disk.syncDir(o.dir)) // durable: directory
}

// close closes the file and the directory, and removes the file unless it was published. The
// removal is not synced, because the caller deletes the key of a failed Put.
func (o *objectWriter) close() {
	if o.file != nil {
		o.file.Close()
	}
	if !o.published {
		o.disk.remove(o.path)
	}
	o.dir.Close()
}

// temporarySuffix returns a random suffix of a temporary name, in the form that fileblob uses.
func temporarySuffix() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return "." + hex.EncodeToString(b[:]) + ".tmp"
}
