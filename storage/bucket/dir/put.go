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

// Put implements [bucket.Store]. A key that has an object already is fs.ErrExist, except the
// marker's, which is replaced.
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
// The directory is opened before the file is made and by each Put anew, because an error of writing
// it back is reported once to every descriptor that was open at the time: one shared by all Puts
// would tell one of them.
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

// CheckSpace implements [bucket.Store]. A full disk shows itself to Put.
func (s *Store) CheckSpace() error { return nil }

// object is one that is being written.
type objectWriter struct {
	disk disk
	file *os.File // nil when it is closed
	dir  *os.File // the directory that names it

	path      string // of the file
	final     string // of the object
	published bool   // the object is there, if perhaps not durably
}

// create makes the file of an object. Where the directory of its key went missing it fails: a new
// one would not be durable, or lie below the mount point of a disk that is gone.
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

// publish makes the bytes durable, gives them their key where they have another name, and makes
// that durable.
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

// close removes the object unless it was published, and lets go of all that create took. Without an
// fsync, since the key of a Put that failed will be deleted.
func (o *objectWriter) close() {
	if o.file != nil {
		o.file.Close()
	}
	if !o.published {
		o.disk.remove(o.path)
	}
	o.dir.Close()
}

// temporarySuffix is what a name has more while it is temporary, as fileblob makes them.
func temporarySuffix() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return "." + hex.EncodeToString(b[:]) + ".tmp"
}
