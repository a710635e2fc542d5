package cloud

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/berth-registry/berth/storage/bucket"
)

// partSize is the size of a buffer of a pool, and of the first parts of an object. It is the least
// that S3 takes for a part that is not the last one.
const partSize = 5 << 20

// pool lends the memory for the parts of the uploads of a store. It is safe for concurrent use.
type pool struct {
	units int64 // of partSize bytes that may be lent
	sem   *semaphore.Weighted

	mu    sync.Mutex // guards the fields below
	lent  int64      // units
	most  int64      // the largest value of lent
	spare [][]byte   // of one unit; dropped when nothing is lent
}

// newPool returns the pool of a store with options o.
func newPool(o bucket.Options) *pool {
	if o.UploadMemory == 0 {
		o.UploadMemory = bucket.DefaultUploadMemory
	}
	units := max(o.UploadMemory, bucket.MinUploadMemory) / partSize
	return &pool{units: units, sem: semaphore.NewWeighted(units)}
}

// take returns an empty buffer with a capacity of so many units, and waits for it. The units of
// extra are lent too, for buffers that an SDK allocates. It waits in the order of the calls. A
// caller that waits must not hold memory of the pool.
func (p *pool) take(ctx context.Context, units, extra int64) ([]byte, error) {
	if err := p.sem.Acquire(ctx, units+extra); err != nil {
		return nil, err
	}
	return p.lend(units, extra), nil
}

// tryTake is take for callers that hold memory. It returns nil if it would have to wait, or if
// others wait.
func (p *pool) tryTake(units, extra int64) []byte {
	if !p.sem.TryAcquire(units + extra) {
		return nil
	}
	return p.lend(units, extra)
}

func (p *pool) lend(units, extra int64) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lent += units + extra
	p.most = max(p.most, p.lent)
	if last := len(p.spare) - 1; units == 1 && last >= 0 {
		buf := p.spare[last]
		p.spare = p.spare[:last]
		return buf
	}
	if units > 1 {
		p.spare = nil // the larger buffer stands for them
	}
	return make([]byte, 0, units*partSize)
}

// release takes back a buffer of take or tryTake, and the extra units.
func (p *pool) release(buf []byte, extra int64) {
	units := int64(cap(buf)) / partSize
	p.mu.Lock()
	p.lent -= units + extra
	if units == 1 {
		p.spare = append(p.spare, buf[:0])
	}
	if p.lent == 0 {
		p.spare = nil
	}
	p.mu.Unlock()
	p.sem.Release(units + extra)
}

// partUnits returns the units of the part with a number, from 0 on. Parts grow, so that the 10,000
// parts of S3 have room for large objects: with the default memory for 400 GiB.
func (p *pool) partUnits(number int) int64 { return min(p.units, 1<<min(number/1000, 20)) }
