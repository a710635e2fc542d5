// Package catalog pages through the repositories that a caller may see. The cost of a page does not
// depend on the number of repositories that the caller may not see.
//
// The repositories that a caller may see are an auth.View; the others are hidden. The first request
// that meets a hidden repository reads all names once, which is called a scan, and keeps the
// positions of the visible ones as a list. Callers whose Views have the same key share the list.
// After that a page costs the names on it, plus one decision for each repository that was listed
// since the previous request:
//
//	no list ◀───────────────────┐
//	   │ meets a hidden name    │ least recently used
//	   ▼                        │
//	scan ──── complete ────▶ list of version v ◀──┐
//	   ▲                        │   │             │ repositories listed after v
//	   └──── grown too large ───┘   └─────────────┘
//
// One request at a time scans, in order of arrival, so that scans together use one processor at
// most. Requests for the same View wait for the running scan. If its client leaves, the next
// request continues where the scan stopped. So the names are read once, however often scans are
// interrupted.
//
// Lists are kept in an LRU cache of a limited size in bytes. They need not be invalidated when the
// policy or accounts change: with other rules, groups or scope a caller has a View with another
// key.
package catalog

import (
	"context"
	"math"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/berth-registry/berth/auth"
)

// Lister lists the names of repositories, as documented at storage.Lists.
type Lister interface {
	Repositories(ctx context.Context, after, before string, n int) ([]string, error)
	ListVersion(ctx context.Context) (int64, error)
	ListedSince(ctx context.Context, since int64, n int) (repos []string, version int64, err error)
}

// queryPage is the maximum number of names that one query asks for.
const queryPage = 1000

// maxListFraction limits the size of one list to 1/maxListFraction of the memory.
const maxListFraction = 4

// Catalog pages through repositories. It is safe for concurrent use.
type Catalog struct {
	lister   Lister
	maxBytes int
	scanning chan struct{} // semaphore: full while a request scans

	mu      sync.Mutex                     // guards what follows
	entries *simplelru.LRU[string, *entry] // by the View's key
	bytes   int                            // of all entries
}

// entry is the cached state of one View.
type entry struct {
	key      string
	bytes    int                  // size that the cache counts; guarded by Catalog.mu
	list     atomic.Pointer[list] // nil if a scan is needed; set while holding updating
	updating chan struct{}        // semaphore: full while a request makes or updates the list
	scan     *scan                // an unfinished scan; used while holding updating
}

// entryBytes is the approximate size of an entry without its list.
const entryBytes = 400

// New returns a Catalog whose lists take at most maxBytes bytes.
func New(lister Lister, maxBytes int) *Catalog {
	entries, _ := simplelru.NewLRU[string, *entry](math.MaxInt, nil) // fails for sizes below 1 only
	return &Catalog{lister: lister, maxBytes: maxBytes, scanning: make(chan struct{}, 1), entries: entries}
}

// Page returns the first n repositories of v whose names follow after, in byte order, and reports
// whether there are more. It includes every repository that was listed before the call. If ctx ends
// it returns an error.
func (c *Catalog) Page(ctx context.Context, v auth.View, after string, n int) (names []string, more bool, err error) {
	names = []string{}
	if n == 0 || v.Allows == nil {
		return names, false, nil
	}
	e, known := c.find(v.Key)
	if !known {
		whole := false
		if names, whole, err = c.directPage(ctx, v, after, n+1); err != nil || whole {
			return trimPage(names, n, err)
		}
		e = c.add(v.Key)
	}
	l, err := c.current(ctx, e, v)
	if err != nil {
		return nil, false, err
	}
	names, err = l.page(ctx, c.lister, v, after, n+1)
	return trimPage(names, n, err)
}

// trimPage returns the first n names and reports whether there were more.
func trimPage(names []string, n int, err error) ([]string, bool, error) {
	if err != nil {
		return nil, false, err
	}
	return names[:min(n, len(names))], len(names) > n, nil
}

// directPage reads n names after a name without a list. If it meets a hidden name, it stops and
// returns whole = false. So the time of a page does not reveal the number of hidden names.
func (c *Catalog) directPage(ctx context.Context, v auth.View, after string, n int) (names []string, whole bool, err error) {
	names = []string{}
	for {
		want := min(n-len(names), queryPage)
		got, err := c.lister.Repositories(ctx, after, "", want)
		if err != nil {
			return nil, false, err
		}
		for _, name := range got {
			if !v.Allows(name) {
				return nil, false, nil
			}
		}
		names = append(names, got...)
		if len(got) < want || len(names) == n {
			return names, true, nil
		}
		after = names[len(names)-1]
	}
}

// current returns the list of v, including every repository that is listed now.
func (c *Catalog) current(ctx context.Context, e *entry, v auth.View) (*list, error) {
	version, err := c.lister.ListVersion(ctx)
	if err != nil {
		return nil, err
	}
	if l := e.list.Load(); l != nil && l.version >= version {
		return l, nil
	}
	if err := acquire(ctx, e.updating); err != nil {
		return nil, err
	}
	defer release(e.updating)
	return c.update(ctx, e, v, version)
}

// update returns the list at the given version or a later one. It scans if there is no list. The
// caller holds e.updating.
func (c *Catalog) update(ctx context.Context, e *entry, v auth.View, version int64) (*list, error) {
	l := e.list.Load()
	if l == nil {
		var err error
		if l, err = c.finishScan(ctx, e, v); err != nil {
			return nil, err
		}
	}
	for l.version < version && ctx.Err() == nil {
		names, last, err := c.lister.ListedSince(ctx, l.version, queryPage)
		if err != nil {
			return nil, err
		}
		if l, err = l.withListed(ctx, c.lister, v, names); err != nil {
			return nil, err
		}
		l.version = last
		if len(names) < queryPage {
			l.version = max(last, version) // version numbers may have gaps
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.bytes > c.maxBytes/maxListFraction {
		e.list.Store(nil) // the next request scans, and makes larger intervals
		c.storeEntry(e, 0)
		return l, nil
	}
	e.list.Store(l)
	c.storeEntry(e, l.bytes)
	return l, nil
}

// finishScan starts or continues a scan. If ctx ends, the progress is kept for the next request.
func (c *Catalog) finishScan(ctx context.Context, e *entry, v auth.View) (*list, error) {
	if err := acquire(ctx, c.scanning); err != nil {
		return nil, err
	}
	defer release(c.scanning)
	if e.scan == nil {
		version, err := c.lister.ListVersion(ctx) // read first, so that update adds what is listed during the scan
		if err != nil {
			return nil, err
		}
		e.scan = newScan(version, c.maxBytes/maxListFraction)
	}
	for !e.scan.done {
		names, err := c.lister.Repositories(ctx, e.scan.last, "", queryPage)
		if err == nil {
			e.scan.addNames(names, v.Allows) // even if ctx has ended, so that every request makes progress
			err = ctx.Err()
		}
		if err != nil {
			c.storeEntry(e, e.scan.bytes)
			return nil, err
		}
	}
	l := e.scan.list()
	e.scan = nil
	return l, nil
}

// find returns the entry of a key, if there is one.
func (c *Catalog) find(key string) (*entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries.Get(key)
}

// add returns the entry of a key, and creates it if necessary.
func (c *Catalog) add(key string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries.Get(key); ok {
		return e
	}
	e := &entry{key: key, updating: make(chan struct{}, 1)}
	c.store(e, 0)
	return e
}

// storeEntry is store for a caller that does not hold mu.
func (c *Catalog) storeEntry(e *entry, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store(e, bytes)
}

// store stores an entry with the size of its list, as the most recently used one. It removes the
// least recently used entries until all fit into the memory. The caller holds mu.
func (c *Catalog) store(e *entry, bytes int) {
	if old, ok := c.entries.Peek(e.key); ok {
		c.bytes -= old.bytes
	}
	e.bytes = entryBytes + len(e.key) + bytes
	c.bytes += e.bytes
	c.entries.Add(e.key, e)
	for c.bytes > c.maxBytes {
		_, old, _ := c.entries.RemoveOldest()
		c.bytes -= old.bytes
	}
}

// acquire takes the semaphore slot, after those who waited before.
func acquire(ctx context.Context, slot chan struct{}) error {
	select {
	case slot <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// release frees the semaphore slot for the next.
func release(slot chan struct{}) { <-slot }
