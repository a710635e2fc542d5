package db

import (
	"context"
	"sync"
)

// Shared runs queries for callers that ask for the same row at the same time. A caller gets the
// result of a query that began after its call, and so sees every change that was acknowledged
// before: it never joins a query that is under way. One query for a key runs at a time, and those
// who come meanwhile share the next one. The zero value is ready for use.
type Shared[K comparable, V any] struct {
	mu      sync.Mutex          // guards the fields below
	running map[K]*sharedRun[V] // the query that runs
	waiting map[K]*sharedRun[V] // the query that is to run next
}

// sharedRun is one query. Its results are set when done is closed.
type sharedRun[V any] struct {
	done  chan struct{}
	value V
	err   error
}

// Do returns the result of query, which may be that of another caller's query of the key. query
// gets a context that does not end with the caller's. If ctx ends while another caller's query is
// waited for, Do returns the error of ctx.
func (s *Shared[K, V]) Do(ctx context.Context, key K, query func(context.Context) (V, error)) (V, error) {
	run, previous, joined := s.join(key)
	if joined {
		select {
		case <-run.done:
			return run.value, run.err
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	if previous != nil {
		<-previous.done // the database ends it in time
	}
	s.begin(key, run)
	defer s.end(key, run)
	run.err = ErrUnavailable // for the others, if query panics
	run.value, run.err = query(context.WithoutCancel(ctx))
	return run.value, run.err
}

// join returns the next query of a key: another caller's, or a new one, which the caller has to run
// after the previous one.
func (s *Shared[K, V]) join(key K) (run, previous *sharedRun[V], joined bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if run, ok := s.waiting[key]; ok {
		return run, nil, true
	}
	if s.waiting == nil {
		s.running, s.waiting = map[K]*sharedRun[V]{}, map[K]*sharedRun[V]{}
	}
	run = &sharedRun[V]{done: make(chan struct{})}
	s.waiting[key] = run
	return run, s.running[key], false
}

// begin makes the next query the running one: from here on nobody joins it.
func (s *Shared[K, V]) begin(key K, run *sharedRun[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, key)
	s.running[key] = run
}

func (s *Shared[K, V]) end(key K, run *sharedRun[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, key)
	close(run.done)
}
