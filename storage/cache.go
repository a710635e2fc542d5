package storage

import (
	"container/list"
	"sync"

	"github.com/berth-registry/berth/storage/meta"
)

// cache keeps the values that were used last, up to a number of bytes.
type cache[K comparable, V any] struct {
	maxBytes int64

	mu    sync.Mutex // guards what follows
	bytes int64
	byKey map[K]*list.Element
	lru   *list.List // of *entry[K, V]; the front was used last
}

type entry[K comparable, V any] struct {
	key      K
	value    V
	bytes    int64
	pinCount int // how many use the value; while some do it stays
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

// pin is get for a value that the caller holds on to. It stays in the cache, and is counted there,
// until release is called.
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

// take returns a value and forgets it.
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

// entryOverhead is about what an entry takes beside its value, in bytes.
const entryOverhead = 300

// add remembers a value, in place of an older one. It does not where the value is so large that it
// would push out many, or where those that are pinned leave no room for it.
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

// evict removes what was not used for longest, until the rest fits. It is called with the lock
// held.
func (c *cache[K, V]) evict() {
	for e := c.lru.Back(); e != nil && c.bytes > c.maxBytes; {
		before := e.Prev()
		if e.Value.(*entry[K, V]).pinCount == 0 {
			c.remove(e)
		}
		e = before
	}
}

// remove is called with the lock held.
func (c *cache[K, V]) remove(e *list.Element) {
	old := c.lru.Remove(e).(*entry[K, V])
	delete(c.byKey, old.key)
	c.bytes -= old.bytes
}

// place is where something is asked for: a tag or digest of a repository.
type refKey struct {
	repo string
	ref  string
}

// found is what a place held at a version of its repository.
type versioned[V any] struct {
	value   V
	version uint64
}

// resolver answers from memory what the rows said, for as long as the repository did not change.
// Where other processes may change it too it remembers nothing.
type resolver[V any] struct {
	version func(repo string) uint64
	cache   *cache[refKey, versioned[V]]
}

func newResolver[V any](db *meta.DB, max int64) *resolver[V] {
	if !db.Exclusive() {
		max = 0
	}
	return &resolver[V]{version: db.Version, cache: newCache[refKey, versioned[V]](max)}
}

// resolve returns what is at a place, from look where it is not known.
func (r *resolver[V]) resolve(repo, ref string, load func() (V, error)) (V, error) {
	version := r.version(repo) // before looking: what changes meanwhile has another one
	key := refKey{repo, ref}
	if f, ok := r.cache.get(key); ok && f.version == version {
		return f.value, nil
	}
	value, err := load()
	if err == nil {
		r.cache.add(key, versioned[V]{value, version}, len(repo)+len(ref))
	}
	return value, err
}
