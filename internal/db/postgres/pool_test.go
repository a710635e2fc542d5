package postgres

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/berth-registry/berth/internal/db"
)

// noConn connects to nothing.
func noConn(context.Context) (*conn, error) { return &conn{opened: time.Now()}, nil }

func get(t *testing.T, p *pool, bulk bool) {
	t.Helper()
	if _, err := p.get(t.Context(), bulk); err != nil {
		t.Fatal(err)
	}
}

// TestWait checks that waiting for a connection ends with the caller's context or after 5 seconds.
func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, noConn)
		get(t, p, false)
		start := time.Now()
		if _, err := p.get(t.Context(), false); !errors.Is(err, db.ErrUnavailable) || time.Since(start) != maxWait {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.get(ctx, true); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, db.ErrUnavailable) {
			t.Errorf("with an earlier deadline: %v", err)
		}
	})
}

// TestSlowConnect checks that opening a connection, too, ends after 5 seconds.
func TestSlowConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, func(ctx context.Context) (*conn, error) { <-ctx.Done(); return nil, ctx.Err() })
		for range 2 { // a failure frees its place
			if _, err := p.get(t.Context(), true); !errors.Is(err, db.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.get(ctx, false); err != context.Canceled {
			t.Errorf("got %v", err)
		}
	})
}

// TestBulk checks that bulk users leave a quarter of the connections, and that a bulk user that
// gives up waiting leaves no trace.
func TestBulk(t *testing.T) {
	for n, want := range map[int]int{1: 1, 2: 1, 4: 3, 16: 12, 17: 12} {
		if got := bulkConns(n); got != want {
			t.Errorf("%d of %d, want %d", got, n, want)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPool(4, noConn)
		for range 3 {
			get(t, p, true)
		}
		if _, err := p.get(t.Context(), true); !errors.Is(err, db.ErrUnavailable) {
			t.Errorf("a fourth bulk user: %v", err)
		}
		get(t, p, false)
		p.release(true)
		get(t, p, true)
	})
}

// TestClose checks that close waits for those that wait for a connection.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(1, noConn)
		get(t, p, true)
		waited := make(chan error, 1)
		go func() {
			_, err := p.get(t.Context(), true)
			waited <- err
			if err == nil {
				p.release(true)
			}
		}()
		synctest.Wait()
		closed := make(chan struct{})
		go func() { p.close(); close(closed) }()
		synctest.Wait()
		p.release(true)
		if err := <-waited; err != nil {
			t.Errorf("who waited: %v", err)
		}
		<-closed
		if _, err := p.get(t.Context(), false); !errors.Is(err, db.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
