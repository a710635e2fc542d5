// Package catalog pages through the repositories that a caller may see, at a cost
// that does not depend on how many it may not.
//
// What a caller may see is an auth.View. The first request of a View that meets a
// hidden repository reads all names once and keeps where the visible ones are, as a
// list; callers whose Views have one key share it. From then on a page costs the names
// on it, and a decision on each repository that was listed since the last request:
//
//	no list ◀───────────────────┐
//	   │ a hidden name is met   │ used longest ago
//	   ▼                        │
//	scan ──── all read ───▶ list of version v ◀──┐
//	   ▲                        │   │            │ repositories listed after v
//	   └──── grown too large ───┘   └────────────┘
//
// One request at a time scans, in the order in which they came, so that all of them
// take one processor at most. Requests of one View wait for the one that scans. If its
// client leaves, the next goes on where it stopped: however often a scan is broken
// off, the names are read once.
//
// Lists are kept within a number of bytes, those used last. No version of the policy or
// of accounts is compared: with other rules, groups or scope a caller has another View.
package catalog

import (
	"context"
	"math"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/berth-registry/berth/auth"
)

// Rows are the names of the repositories, as storage.Lists has them.
type Rows interface {
	Repositories(ctx context.Context, after, before string, n int) ([]string, error)
	ListVersion(ctx context.Context) (int64, error)
	Listed(ctx context.Context, since int64, n int) (repos []string, version int64, err error)
}

// queryPage is how many names one query asks for.
const queryPage = 1000

// largest is the part of the memory that one list may take: 1/largest.
const largest = 4

// Catalog pages through repositories. It is safe for concurrent use.
type Catalog struct {
	rows     Rows
	maxBytes int
	scanning chan struct{} // holds an element while a request scans

	mu      sync.Mutex                     // guards what follows
	entries *simplelru.LRU[string, *entry] // by the View's key
	bytes   int                            // of all entries
}

// entry is what is known of a View.
type entry struct {
	key   string
	bytes int                  // guarded by Catalog.mu
	list  atomic.Pointer[list] // nil: it must be scanned; set by the holder of turn
	turn  chan struct{}        // holds an element while a request makes or updates the list
	scan  *scan                // not finished; belongs to the holder of turn
}

// entryBytes is about what an entry takes beside its list.
const entryBytes = 400

// New returns a Catalog whose lists take at most so many bytes.
func New(rows Rows, maxBytes int) *Catalog {
	entries, _ := simplelru.NewLRU[string, *entry](math.MaxInt, nil) // fails for sizes below 1 only
	return &Catalog{rows: rows, maxBytes: maxBytes, scanning: make(chan struct{}, 1), entries: entries}
}

// Page returns the first n repositories of v after a name, in byte order, and reports
// whether there are more. It has all that were listed before it was called. The end of
// ctx ends it with an error.
func (c *Catalog) Page(ctx context.Context, v auth.View, after string, n int) (names []string, more bool, err error) {
	names = []string{}
	if n == 0 || v.Allows == nil {
		return names, false, nil
	}
	e, known := c.find(v.Key)
	if !known {
		whole := false
		if names, whole, err = c.plainPage(ctx, v, after, n+1); err != nil || whole {
			return cut(names, n, err)
		}
		e = c.add(v.Key)
	}
	l, err := c.current(ctx, e, v)
	if err != nil {
		return nil, false, err
	}
	names, err = l.page(ctx, c.rows, v, after, n+1)
	return cut(names, n, err)
}

// cut takes the first n of names and reports whether there were more.
func cut(names []string, n int, err error) ([]string, bool, error) {
	if err != nil {
		return nil, false, err
	}
	return names[:min(n, len(names))], len(names) > n, nil
}

// plainPage reads n names after one from the rows. The page is whole unless a hidden
// name is among them: then it gives up, so that no page tells by its time how many of
// them it passed over.
func (c *Catalog) plainPage(ctx context.Context, v auth.View, after string, n int) (names []string, whole bool, err error) {
	names = []string{}
	for {
		want := min(n-len(names), queryPage)
		got, err := c.rows.Repositories(ctx, after, "", want)
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

// current returns the list of v with every repository that is listed now.
func (c *Catalog) current(ctx context.Context, e *entry, v auth.View) (*list, error) {
	version, err := c.rows.ListVersion(ctx)
	if err != nil {
		return nil, err
	}
	if l := e.list.Load(); l != nil && l.version >= version {
		return l, nil
	}
	if err := enter(ctx, e.turn); err != nil {
		return nil, err
	}
	defer leave(e.turn)
	return c.update(ctx, e, v, version)
}

// update brings the list up to a version at least, or makes it. It is called by the
// holder of the entry's turn.
func (c *Catalog) update(ctx context.Context, e *entry, v auth.View, version int64) (*list, error) {
	l := e.list.Load()
	if l == nil {
		var err error
		if l, err = c.finishScan(ctx, e, v); err != nil {
			return nil, err
		}
	}
	for l.version < version && ctx.Err() == nil {
		names, last, err := c.rows.Listed(ctx, l.version, queryPage)
		if err != nil {
			return nil, err
		}
		if l, err = l.with(ctx, c.rows, v, names); err != nil {
			return nil, err
		}
		l.version = last
		if len(names) < queryPage {
			l.version = max(last, version) // numbers may be left out
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l.bytes > c.maxBytes/largest {
		e.list.Store(nil) // the next request scans, and finds larger stretches
		c.keep(e, 0)
		return l, nil
	}
	e.list.Store(l)
	c.keep(e, l.bytes)
	return l, nil
}

// finishScan begins a scan or goes on with it. What it has when ctx ends is kept for the
// next request.
func (c *Catalog) finishScan(ctx context.Context, e *entry, v auth.View) (*list, error) {
	if err := enter(ctx, c.scanning); err != nil {
		return nil, err
	}
	defer leave(c.scanning)
	if e.scan == nil {
		version, err := c.rows.ListVersion(ctx) // first: what is listed meanwhile comes after it
		if err != nil {
			return nil, err
		}
		e.scan = newScan(version, c.maxBytes/largest)
	}
	for !e.scan.done {
		names, err := c.rows.Repositories(ctx, e.scan.last, "", queryPage)
		if err == nil {
			e.scan.see(names, v.Allows) // also if ctx has ended: each request gets on
			err = ctx.Err()
		}
		if err != nil {
			c.keep(e, e.scan.bytes)
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

// add returns the entry of a key, which it makes unless there is one.
func (c *Catalog) add(key string) *entry {
	if e, ok := c.find(key); ok {
		return e
	}
	e := &entry{key: key, turn: make(chan struct{}, 1)}
	c.keep(e, 0)
	return e
}

// keep notes the size of an entry, which was used last, and forgets those that were
// used longest ago until all are within the memory.
func (c *Catalog) keep(e *entry, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
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

// enter waits for a place in a channel, behind those who came before.
func enter(ctx context.Context, place chan struct{}) error {
	select {
	case place <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave gives the place to the next.
func leave(place chan struct{}) { <-place }
