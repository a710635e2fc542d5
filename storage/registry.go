package storage

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db/schema"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/meta"
)

// AllowMissing selects the manifests that may link content that the repository does not have yet.
type AllowMissing string

// The values of AllowMissing.
const (
	MissingNone  AllowMissing = "none"  // every link must be there
	MissingIndex AllowMissing = "index" // an index may list manifests that are missing
	MissingAll   AllowMissing = "all"   // every link may be missing
)

// Options are the settings of a Registry. The zero value is ready for use.
type Options struct {
	AllowMissing AllowMissing  // MissingNone if empty
	UploadExpiry time.Duration // how long an upload session may be idle; a day if 0
	DeleteDelay  time.Duration // how long the object of a blob is kept after its row
	// MaxSessions is how many upload sessions one caller may have open, and how many requests with
	// bytes may run for it; no limit if 0.
	MaxSessions int64
	// MaxInProgress is the number of bytes that one caller may have in open sessions and in running
	// requests, where each chunk counts for 16 KiB more; no limit if 0. Many small bodies at once
	// may exceed it by a sixth.
	MaxInProgress int64
	// CacheBytes is the size of the caches of payloads and of what tags and digests resolve to.
	CacheBytes int64
	Log        *slog.Logger     // discards if nil
	Now        func() time.Time // time.Now if nil
}

// Registry is the registry on a bucket and a database. It is safe for concurrent use by the
// goroutines of one process. If the database is exclusive, one process at a time may serve it: what
// tags mean and the reserved keys of sessions are cached in memory, and changes by another process
// are not seen. Else any number of equal processes may.
type Registry struct {
	db     *meta.DB
	bucket bucket.Store
	opts   Options
	log    *slog.Logger
	id     schema.Registry

	payloads  *cache[rowKey, []byte]
	manifests *resolver[Manifest]
	blobs     *resolver[Blob]

	damagedPayloads *cache[rowKey, struct{}]
	unreadable      *cache[rowKey, meta.Object] // see objectFailed
	present         *cache[string, time.Time]   // when the object with a key was read; see isPresent

	reservations *cache[string, reservation] // by the upload's id
	pool         *sessionPool
	turns        turns
	clock        atomic.Pointer[clockReading] // nil if the database is exclusive
	marks        *cache[rowKey, objectMarks]
	checks       checkLimiter
	rehashes     chan struct{} // has an element for each running rehash
	stats        stats
	markerRead   atomic.Int64 // when the bucket's marker was last found right, in microseconds

	wakeDeletion chan struct{} // has an element if objects were released

	firstDirectory byte          // of new keys; random
	keysMade       atomic.Uint64 // by this process
}

// writerLease is how long a reserved object is left to its writer alone. The writer renews the
// lease every renewEvery.
const (
	writerLease = 5 * time.Minute
	renewEvery  = time.Minute
)

// Open returns the registry on a bucket and a database that belong together. If the database is
// new, Open gives it an identity and writes the bucket's marker. No other Registry may be open on
// an exclusive database: Open releases the objects that the other one is writing, so that they are
// deleted.
func Open(ctx context.Context, db *meta.DB, b bucket.Store, o Options) (*Registry, error) {
	if o.AllowMissing == "" {
		o.AllowMissing = MissingNone
	}
	if o.UploadExpiry == 0 {
		o.UploadExpiry = 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	r := &Registry{db: db, bucket: b, opts: o, log: o.Log, wakeDeletion: make(chan struct{}, 1),
		payloads:  newCache[rowKey, []byte](o.CacheBytes / 2),
		manifests: newResolver[Manifest](db, o.CacheBytes/4),
		blobs:     newResolver[Blob](db, o.CacheBytes/4),

		damagedPayloads: newCache[rowKey, struct{}](damagedPayloadsBytes),
		unreadable:      newCache[rowKey, meta.Object](unreadableBytes),
		present:         newCache[string, time.Time](presentBytes),

		reservations: newCache[string, reservation](reservationBytes),
		pool:         newSessionPool(),
		marks:        newCache[rowKey, objectMarks](marksBytes),
		rehashes:     make(chan struct{}, maxRehashes),
	}
	r.stats = newStats(r)
	var first [1]byte
	rand.Read(first[:]) // never fails
	r.firstDirectory = first[0]
	if err := r.readClock(ctx); err != nil {
		return nil, err
	}
	if err := r.ensureMarker(ctx); err != nil {
		return nil, err
	}
	r.markerRead.Store(r.nowMicro())
	if err := r.releaseUnrecorded(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// releaseUnrecorded releases the objects that an earlier process was writing when it died, so that
// the deletion worker deletes what the bucket has of them. Recorded parts of sessions stay. On a
// full disk, or where another process may be writing them, the objects stay until their sessions
// expire.
func (r *Registry) releaseUnrecorded(ctx context.Context) error {
	if !r.db.Exclusive() {
		return nil
	}
	var n int64
	err := r.tx(ctx, func(tx *meta.Tx) (err error) {
		n, err = tx.ReleaseUnrecorded(r.nowMicro())
		return err
	})
	switch {
	case errors.Is(err, ErrNoSpace):
		r.log.Warn("the unfinished objects of an earlier run stay until their upload sessions expire", "error", err)
		return nil
	case err == nil && n > 0:
		r.log.Info("released the unfinished objects of an earlier run", "objects", n)
	}
	return err
}

// ensureMarker checks that the bucket's marker has the identity of the database. It makes an
// identity for a new database, and the marker if there is none. Several processes may do so at
// once: they agree on the identity that the database has first.
func (r *Registry) ensureMarker(ctx context.Context) error {
	// The marker first: it is written after the row of the database.
	marker, err := r.readMarker(ctx)
	isMarked := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %s of the bucket: %w", bucket.Marker, err)
	}
	r.id, err = r.db.Registry(ctx)
	isNew := errors.Is(err, fs.ErrNotExist)
	switch {
	case isNew && isMarked:
		return fmt.Errorf(
			"the bucket belongs to registry %s, but the database is new: "+
				"restore its database, or use an empty bucket",
			marker.ID)
	case isNew:
		err = r.createIdentity(ctx)
	}
	if err != nil {
		return err
	}
	if !isMarked {
		if marker, err = r.writeMarker(ctx); err != nil {
			return err
		}
	}
	if marker != r.id {
		return fmt.Errorf(
			"the bucket belongs to registry %s (incarnation %s), the database to %s (%s): "+
				"one of them is a copy or from elsewhere",
			marker.ID, marker.Incarnation, r.id.ID, r.id.Incarnation)
	}
	return nil
}

// createIdentity gives a new database an identity, unless another process has just done so.
func (r *Registry) createIdentity(ctx context.Context) error {
	id := schema.Registry{ID: randomID(), Incarnation: randomID()}
	err := r.db.Tx(ctx, func(tx *meta.Tx) error { return tx.CreateRegistry(id) })
	if err == nil {
		r.id, err = r.db.Registry(ctx)
	}
	return err
}

// writeMarker writes the marker and reads it back, unless the database has blobs: then the bucket
// is the wrong one, or another process has written the marker meanwhile.
func (r *Registry) writeMarker(ctx context.Context) (schema.Registry, error) {
	has, err := r.db.HasBlobs(ctx)
	if err != nil {
		return schema.Registry{}, err
	}
	if !has {
		text, err := json.Marshal(r.id)
		if err != nil {
			return schema.Registry{}, err
		}
		_, err = r.bucket.Put(ctx, bucket.Marker, bytes.NewReader(append(text, '\n')), io.Discard)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return schema.Registry{}, err
		}
	}
	marker, err := r.readMarker(ctx)
	if has && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf(
			"the database has blobs, but the bucket has no %s: it is not this registry's bucket",
			bucket.Marker)
	}
	return marker, err
}

func (r *Registry) readMarker(ctx context.Context) (schema.Registry, error) {
	var id schema.Registry
	f, err := r.bucket.Get(ctx, bucket.Marker, 0, bucket.UnknownSize)
	if err != nil {
		return id, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(text, &id); err != nil {
		return id, fmt.Errorf("%s is damaged: %w", bucket.Marker, err)
	}
	return id, nil
}

// checkMarker fails unless the bucket can be read and is this registry's.
func (r *Registry) checkMarker(ctx context.Context) error {
	marker, err := r.readMarker(ctx)
	if err != nil {
		return err
	}
	if marker != r.id {
		return fmt.Errorf("the bucket belongs to registry %s (incarnation %s) now", marker.ID, marker.Incarnation)
	}
	r.markerRead.Store(r.nowMicro())
	return nil
}

// tx runs a write transaction. An error for lack of space is an ErrNoSpace.
func (r *Registry) tx(ctx context.Context, fn func(tx *meta.Tx) error) error {
	return spaceError(r.db.Tx(ctx, fn))
}

// orUnknown turns fs.ErrNotExist into an error of the given kind.
func orUnknown(err, kind error, format string, args ...any) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errorf(kind, format, args...)
	}
	return err
}

// rowKey is the key of what is remembered about the row of a manifest or blob. After a restore of
// the database, an id may come again for another digest.
type rowKey struct {
	id     int64
	digest digest.Digest
}

// randomID returns 128 random bits in hex.
func randomID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// newUploadID returns a new id that cannot be guessed. It starts with the time: the rows of uploads
// of about the same time are close together, and share the pages that a commit writes.
func (r *Registry) newUploadID() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(r.opts.Now().UnixMilli()))
	return hex.EncodeToString(b[2:]) + randomID()
}

// keysPerDirectory is the number of consecutive objects that go to one of the 256 directories, so
// that their rows are close together.
const keysPerDirectory = 256

// newKey returns a key that was never used. It ends with n, the number of the part, which helps
// when a bucket is inspected.
func (r *Registry) newKey(n int64) string {
	directory := r.firstDirectory + byte(r.keysMade.Add(1)/keysPerDirectory)
	return "content/" + hex.EncodeToString([]byte{directory}) + "/" + randomID() + "-" + strconv.FormatInt(n, 10)
}

// sessionTime returns the time that a row has as its session's last use. It is rounded down, since
// the column is indexed and each change of it costs a write to the index.
func (r *Registry) sessionTime(now time.Time) int64 {
	return now.Truncate(min(10*time.Second, r.opts.UploadExpiry/10)).UnixMicro()
}
