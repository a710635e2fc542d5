package storage

import (
	"container/list"
	"sync"
)

// payloadCache keeps the payloads that were read last, up to a number of bytes.
// A row's payload never changes and its id is never used again, so nothing in it
// can be stale.
type payloadCache struct {
	max int64

	mu    sync.Mutex // guards what follows
	bytes int64
	byID  map[int64]*list.Element
	order *list.List // of cached; the front was used last
}

type cached struct {
	id      int64
	payload []byte
}

func newPayloadCache(max int64) *payloadCache {
	return &payloadCache{max: max, byID: map[int64]*list.Element{}, order: list.New()}
}

func (c *payloadCache) get(id int64) ([]byte, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byID[id]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(cached).payload, true
}

// entryOverhead is about what an entry takes beside its payload.
const entryOverhead = 200

// add remembers a payload unless it is so large that it would push out many.
func (c *payloadCache) add(id int64, payload []byte) {
	if int64(len(payload)) > c.max/16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byID[id]; ok {
		return
	}
	c.byID[id] = c.order.PushFront(cached{id, payload})
	c.bytes += int64(len(payload)) + entryOverhead
	for c.bytes > c.max {
		last := c.order.Back()
		old := c.order.Remove(last).(cached)
		delete(c.byID, old.id)
		c.bytes -= int64(len(old.payload)) + entryOverhead
	}
}
