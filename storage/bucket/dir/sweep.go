package dir

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	"github.com/berth-registry/berth/storage/bucket"
)

// Sweep removes temporary files that a process left when it died, and returns their number. They
// belong to the marker or, after earlier versions of Berth or fileblob, to any object. Sweep would
// also remove the temporary file of a running Put of any process. So call it before the first Put,
// and under the lock of the data directory.
func (s *Store) Sweep(ctx context.Context) (removed int, err error) {
	for dir := range bucket.Directories() {
		if err := s.usable(ctx); err != nil {
			return removed, err
		}
		n, err := s.sweepIn(dir)
		if removed += n; err != nil {
			return removed, fmt.Errorf("bucket: sweep: %w", err)
		}
	}
	return removed, nil
}

// sweepIn removes the temporary files of one directory.
func (s *Store) sweepIn(dir string) (removed int, err error) {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !isTemporary(dir, e.Name()) {
			continue
		}
		// No fsync: a file that is there again after a power cut is removed at the next start.
		if err := s.disk.remove(s.path(path.Join(dir, e.Name()))); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// isTemporary reports whether the name of a file in dir is that of a temporary file, "<key>.<16
// hex>.tmp". dir is relative to the bucket, with slashes.
func isTemporary(dir, name string) bool {
	rest, ok := strings.CutSuffix(name, ".tmp")
	if !ok || len(rest) < 18 {
		return false
	}
	object, stamp := rest[:len(rest)-17], rest[len(rest)-16:]
	return rest[len(object)] == '.' && strings.Trim(stamp, "0123456789abcdef") == "" &&
		bucket.CheckKey(path.Join(dir, object)) == nil
}
