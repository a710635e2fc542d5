package db

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// slowRow is a row whose queries take their value when they begin, and return it when they are let
// go.
type slowRow struct {
	value   atomic.Int64
	queries atomic.Int64
	release chan struct{}
}

func (r *slowRow) query(context.Context) (int64, error) {
	r.queries.Add(1)
	value := r.value.Load()
	<-r.release
	return value, nil
}

// plainSingleflight joins a query that is under way.
type plainSingleflight struct {
	mu  sync.Mutex
	run *sharedRun[int64]
}

func (s *plainSingleflight) Do(ctx context.Context, _ string, query func(context.Context) (int64, error)) (int64, error) {
	s.mu.Lock()
	run := s.run
	if run != nil {
		s.mu.Unlock()
		<-run.done
		return run.value, run.err
	}
	run = &sharedRun[int64]{done: make(chan struct{})}
	s.run = run
	s.mu.Unlock()
	run.value, run.err = query(ctx)
	s.mu.Lock()
	s.run = nil
	s.mu.Unlock()
	close(run.done)
	return run.value, run.err
}

// TestSharedIsNeverStale checks that calls that come after a change see it, also while an older
// query is under way, and that all of them share one query. A plain singleflight fails this: the
// calls would get the old value.
func TestSharedIsNeverStale(t *testing.T) {
	for name, test := range map[string]struct {
		do            func(context.Context, string, func(context.Context) (int64, error)) (int64, error)
		value, number int64 // what the late calls get, and the number of queries
	}{
		"shared":             {new(Shared[string, int64]).Do, 2, 2},
		"plain singleflight": {new(plainSingleflight).Do, 1, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			row := &slowRow{release: make(chan struct{})}
			row.value.Store(1)
			var calls sync.WaitGroup
			call := func(want int64) {
				calls.Go(func() {
					if got, err := test.do(t.Context(), "key", row.query); got != want || err != nil {
						t.Errorf("%s: got %d, %v, want %d", name, got, err, want)
					}
				})
				synctest.Wait()
			}
			call(1)
			row.value.Store(2) // acknowledged while the first query is under way
			for range 10 {
				call(test.value)
			}
			for range test.number {
				row.release <- struct{}{}
				synctest.Wait()
			}
			calls.Wait()
			if n := row.queries.Load(); n != test.number {
				t.Errorf("%s: %d queries", name, n)
			}
		})
	}
}

// TestSharedByKey checks that keys do not wait for each other, and that nothing of a key remains.
func TestSharedByKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Shared[string, int64]
		row := &slowRow{release: make(chan struct{})}
		for _, key := range []string{"a", "b"} {
			go s.Do(t.Context(), key, row.query)
		}
		synctest.Wait()
		if n := row.queries.Load(); n != 2 {
			t.Errorf("%d queries run", n)
		}
		close(row.release)
		synctest.Wait()
		if len(s.running)+len(s.waiting) != 0 {
			t.Errorf("left are %v and %v", s.running, s.waiting)
		}
	})
}

// TestSharedEnds checks that the end of a caller's context ends its waiting, and fails no other
// caller; that an error is shared; and that a panic reaches its caller alone.
func TestSharedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Shared[string, int64]
		row := &slowRow{release: make(chan struct{})}
		first, cancelFirst := context.WithCancel(t.Context())
		last, cancelLast := context.WithCancel(t.Context())
		results := make([]error, 3)
		query := func(ctx context.Context) (int64, error) {
			value, _ := row.query(ctx)
			return value, ctx.Err()
		}
		for i, ctx := range []context.Context{first, t.Context(), last} {
			go func() { _, results[i] = s.Do(ctx, "key", query) }()
			synctest.Wait()
		}
		cancelFirst()
		cancelLast()
		synctest.Wait()
		close(row.release)
		synctest.Wait()
		if results[0] != nil || results[1] != nil || !errors.Is(results[2], context.Canceled) {
			t.Errorf("got %v", results)
		}

		bad := errors.New("bad")
		if _, err := s.Do(t.Context(), "key", func(context.Context) (int64, error) { return 0, bad }); !errors.Is(err, bad) {
			t.Errorf("got %v", err)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was lost")
				}
			}()
			_, _ = s.Do(t.Context(), "key", func(context.Context) (int64, error) { panic("bad") })
		}()
		if got, err := s.Do(t.Context(), "key", query); err != nil || got != 0 {
			t.Errorf("after a panic: %d, %v", got, err)
		}
	})
}
