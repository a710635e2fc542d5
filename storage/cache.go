package storage

import (
	"container/list"
	"context"
	"sync"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/storage/meta"
)

// cache keeps the most recently used values, up to a number of bytes.
type cache[K comparable, V any] struct {
	maxBytes int64

	mu    sync.Mutex // guards the fields below
	bytes int64
	byKey map[K]*list.Element
	lru   *list.List // of *entry[K, V]; the most recently used is at the front
}

type entry[K comparable, V any] struct {
	key      K
	value    V
	bytes    int64
	pinCount int // callers that hold the value; it is not evicted unless this is 0
}

func newCache[K comparable, V any](max int64) *cache[K, V] {
	return &cache[K, V]{maxBytes: max, byKey: map[K]*list.Element{}, lru: list.New()}
}

func (c *cache[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	c.lru.MoveToFront(e)
	return e.Value.(*entry[K, V]).value, true
}

// pin is like get for a value that the caller holds on to. The value stays in the cache, and
// counts, until release is called.
func (c *cache[K, V]) pin(key K) (value V, release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return value, nil, false
	}
	c.lru.MoveToFront(e)
	held := e.Value.(*entry[K, V])
	held.pinCount++
	return held.value, func() { c.unpin(held) }, true
}

func (c *cache[K, V]) unpin(held *entry[K, V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held.pinCount--
}

// take returns a value and removes it.
func (c *cache[K, V]) take(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return value, false
	}
	value = e.Value.(*entry[K, V]).value
	c.remove(e)
	return value, true
}

// entryOverhead is the approximate size of an entry without its value, in bytes.
const entryOverhead = 300

// add adds a value of so many bytes, or replaces an older one. The value is not kept if it is
// larger than a sixteenth of the cache, if an older one is pinned, or if pinned values leave no
// room for it.
func (c *cache[K, V]) add(key K, value V, bytes int) {
	size := int64(bytes) + entryOverhead
	if size > c.maxBytes/16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.byKey[key]; ok {
		if old.Value.(*entry[K, V]).pinCount > 0 {
			return
		}
		c.remove(old)
	}
	c.byKey[key] = c.lru.PushFront(&entry[K, V]{key: key, value: value, bytes: size})
	c.bytes += size
	c.evict()
}

// evict removes the least recently used values until the rest fits. The caller holds mu.
func (c *cache[K, V]) evict() {
	for e := c.lru.Back(); e != nil && c.bytes > c.maxBytes; {
		before := e.Prev()
		if e.Value.(*entry[K, V]).pinCount == 0 {
			c.remove(e)
		}
		e = before
	}
}

// remove removes an entry. The caller holds mu.
func (c *cache[K, V]) remove(e *list.Element) {
	old := c.lru.Remove(e).(*entry[K, V])
	delete(c.byKey, old.key)
	c.bytes -= old.bytes
}

// refKey is a tag or digest of a repository.
type refKey struct {
	repo string
	ref  string
}

// versioned is a value that was read at a version of its repository.
type versioned[V any] struct {
	value   V
	version uint64
}

// resolver caches what tags and digests resolve to, for as long as the version of the repository
// does not change. If other processes may change the database, it caches nothing: requests for one
// tag or digest share a query that began after they came.
type resolver[V any] struct {
	exclusive bool
	version   func(repo string) uint64
	cache     *cache[refKey, versioned[V]]
	shared    db.Shared[refKey, V]
}

func newResolver[V any](rows *meta.DB, max int64) *resolver[V] {
	return &resolver[V]{exclusive: rows.Exclusive(), version: rows.Version, cache: newCache[refKey, versioned[V]](max)}
}

// resolve returns the value of a tag or digest, from load if it is not cached.
func (r *resolver[V]) resolve(
	ctx context.Context, repo, ref string, load func(ctx context.Context) (V, error),
) (V, error) {
	key := refKey{repo, ref}
	if !r.exclusive {
		return r.shared.Do(ctx, key, load)
	}
	version := r.version(repo) // before load, so that a change during load makes the entry stale
	if f, ok := r.cache.get(key); ok && f.version == version {
		return f.value, nil
	}
	value, err := load(ctx)
	if err == nil {
		r.cache.add(key, versioned[V]{value, version}, len(repo)+len(ref))
	}
	return value, err
}
