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

// A push of a blob that is there throws the new bytes away, which were hashed a moment ago, and
// trusts the stored ones. So it looks at those first, unless that was done lately or much is being
// read already:
//
//	not looked at for checkAge -> the same: the new bytes are not needed
//	                           -> other bytes, or none: the new ones take their place

const (
	checkAge  = 24 * time.Hour // for how long stored bytes are trusted that were hashed
	checkRate = 1 << 30        // bytes a minute that are read for comparison
)

// errUnchecked ends a commit before it trusts stored bytes that were not looked at for long.
var errUnchecked = errors.New("the stored bytes are to be compared first")

// checks bounds the comparisons: they run one by one, and read checkRate bytes a minute on the
// average. The zero value is ready for use.
type checkLimiter struct {
	mu        sync.Mutex // guards what follows
	running   bool
	available float64   // that may be read: checkRate at most, and less than 0 after a blob that is larger
	updatedAt time.Time // when bytes was right
}

// ready reports whether a blob of this size may be compared now. One of more than checkRate bytes
// may when nothing was compared for a while.
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

// begin is ready for the one that then compares, and calls end.
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

// check compares the stored bytes of a blob with its digest, and marks the blob damaged if they are
// others or cannot be read. It does nothing where another comparison runs, or when ctx ends.
func (r *Registry) check(ctx context.Context, b Blob) error {
	if !r.checks.begin(b.Size, r.opts.Now()) {
		return nil
	}
	defer r.checks.end()
	now := r.now()
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
	// The blob may have got other objects meanwhile. The first stands for all that were read.
	ctx = context.WithoutCancel(ctx)
	if cause != nil {
		return r.markDamaged(ctx, b, objects[0].Key, cause)
	}
	return r.tx(ctx, func(tx *meta.Tx) error { return tx.RecordBlobChecked(b.id, objects[0].Key, now) })
}

// compare returns what is wrong with the objects of a blob, or nil.
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
