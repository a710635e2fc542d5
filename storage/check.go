package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// A push of a blob that the registry has already drops the new bytes, which were just hashed, in
// favour of the stored ones. So the push first checks the stored bytes against the digest:
//
//	an object could not be opened, and still cannot be -> the new bytes replace them
//	checked within checkAge, or no check may run       -> the stored bytes are trusted
//	they match the digest                              -> the stored bytes are kept
//	they do not, or cannot be read                     -> the new bytes replace them

const (
	checkAge  = 24 * time.Hour // how long stored bytes are trusted after they were hashed
	checkRate = 1 << 30        // bytes a minute that checks may read
)

// errCheckFirst ends a commit whose stored bytes have to be checked first.
var errCheckFirst = errors.New("the stored bytes are to be compared first")

// checkLimiter limits checks: one runs at a time, and they read checkRate bytes a minute on
// average. The zero value is ready for use.
type checkLimiter struct {
	mu        sync.Mutex // guards the fields below
	running   bool
	available float64   // bytes that may be read, at most checkRate; negative after a larger blob
	updatedAt time.Time // when available was last computed
}

// ready reports whether a blob of this size may be checked now. A blob of more than checkRate bytes
// may be checked after a minute without checks.
func (c *checkLimiter) ready(size int64, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readyLocked(size, now)
}

func (c *checkLimiter) readyLocked(size int64, now time.Time) bool {
	if passed := now.Sub(c.updatedAt); passed > 0 {
		c.available = min(checkRate, c.available+checkRate*passed.Minutes())
	}
	c.updatedAt = now
	return !c.running && c.available >= float64(min(size, checkRate))
}

// begin starts a check if ready is true, and reports whether it did. The caller then has to call
// end.
func (c *checkLimiter) begin(size int64, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.readyLocked(size, now) {
		return false
	}
	c.running = true
	c.available -= float64(size)
	return true
}

func (c *checkLimiter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running = false
}

// checkBlob compares the stored bytes of a blob with its digest, and records that they are good or
// damaged. It does nothing if another check runs, unless an object cannot be opened, or when ctx
// ends.
func (r *Registry) checkBlob(ctx context.Context, b Blob) error {
	if o, cause := r.retryUnreadable(ctx, b); cause != nil && ctx.Err() == nil {
		return r.markDamaged(ctx, b, o.Key, cause)
	}
	if !r.checks.begin(b.Size, r.now()) {
		return nil
	}
	defer r.checks.end()
	now := r.nowMicro()
	objects, err := r.db.BlobObjects(ctx, b.id)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil || len(objects) == 0 {
		return err
	}
	cause := r.verifyObjects(ctx, b.Digest, objects)
	if ctx.Err() != nil {
		return nil
	}
	// A push may have replaced the objects meanwhile. The first key identifies the ones that were
	// read.
	ctx = context.WithoutCancel(ctx)
	if cause != nil {
		return r.markDamaged(ctx, b, objects[0].Key, cause)
	}
	return r.tx(ctx, func(tx *meta.Tx) error { return tx.RecordBlobChecked(b.id, objects[0].Key, now) })
}

// verifyObjects returns an error if the objects of a blob cannot be read or do not have its digest.
func (r *Registry) verifyObjects(ctx context.Context, d digest.Digest, objects []meta.Object) error {
	sum := newHash(d.Algorithm())
	if err := r.hashObjects(ctx, objects, sum); err != nil {
		return err
	}
	if got := digest.NewDigest(d.Algorithm(), sum); got != d {
		return fmt.Errorf("the stored bytes have the digest %s", got)
	}
	return nil
}
