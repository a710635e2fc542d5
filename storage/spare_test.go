package storage

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/berth-registry/berth/storage/meta"
)

// countCommits counts transactions from now on.
func (w *world) countCommits() *int {
	n := new(int)
	w.failCommits(func(step string) error {
		if step == "commit" {
			*n++
		}
		return nil
	})
	return n
}

// open opens sessions one after another, each of which is a new one.
func (w *world) open(caller, repo string, alg digest.Algorithm, n int) (ids []string) {
	w.t.Helper()
	seen := map[string]bool{}
	for range n {
		up, err := w.CreateUpload(w.t.Context(), by(caller), repo, alg)
		w.must(err)
		if seen[up.ID] || up.Size != 0 {
			w.t.Fatalf("a new session is %+v", up)
		}
		seen[up.ID] = true
		ids = append(ids, up.ID)
	}
	return ids
}

// close makes a blob of its own of each session.
func (w *world) close(caller, repo string, ids []string) {
	w.t.Helper()
	for _, id := range ids {
		_, err := w.Commit(w.t.Context(), caller, repo, id, digest.FromString(id), chunk(id))
		w.must(err)
		w.wantBlob(repo, id)
	}
}

func (w *world) wantOpen(n int64) {
	w.t.Helper()
	got, err := w.db.CountOpenUploads(w.t.Context())
	w.must(err)
	if got != n {
		w.t.Fatalf("%d sessions are open, want %d", got, n)
	}
}

// Who opens one session after another needs ever fewer transactions, and what was made in advance
// is nobody else's.
func TestSparesSaveTransactions(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "the repository's row")
		w.push("b", "the repository's row")
		commits := w.countCommits()
		ids := w.open("alice", "a", "", 7)
		if *commits != 3 {
			t.Errorf("7 sessions took %d transactions, want 3: for 1, 2 and 4", *commits)
		}
		w.wantOpen(7)
		w.open("alice", "a", "", 100)
		if *commits > 12 {
			t.Errorf("107 sessions took %d transactions", *commits)
		}
		for _, other := range []opener{{by("bob"), "a", digest.SHA256}, {by("alice"), "b", digest.SHA256}, {by("alice"), "a", digest.SHA512}} {
			before := *commits
			id := w.open(other.caller.Owner, other.repo, other.alg, 1)[0]
			if *commits != before+1 {
				t.Errorf("the session of %v was made with others", other)
			}
			up, err := w.Upload(t.Context(), other.caller.Owner, other.repo, id)
			w.must(err)
			if up.Algorithm != other.alg {
				t.Errorf("the session of %v has the algorithm %s", other, up.Algorithm)
			}
		}
		w.close("alice", "a", ids)
	})
}

// Those who wait together get their sessions from one transaction.
func TestSparesForThoseWhoWait(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "the repository's row")
		sh := w.spares.enter(opener{by(""), "a", digest.SHA256}, w.Now())
		sh.turn <- struct{}{}
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() { w.open("", "a", "", 1) })
		}
		for waiting := 0; waiting < 41; time.Sleep(time.Millisecond) {
			w.spares.mu.Lock()
			waiting = sh.waiting
			w.spares.mu.Unlock()
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := w.CreateUpload(ended, by(""), "a", "")
		w.want(context.Canceled, err)
		commits := w.countCommits()
		w.spares.leave(sh)
		<-sh.turn
		wg.Wait()
		if *commits != 1 {
			t.Errorf("40 sessions took %d transactions", *commits)
		}
		w.wantOpen(40)
	})
}

// A session that was spare for too long is not given away, and goes without a trace; those that
// were given stay.
func TestSparesGo(t *testing.T) {
	each(t, Options{}, func(w *world) {
		gauge := w.Collectors()[0]
		wantGauge := func(n float64) {
			t.Helper()
			if got := testutil.ToFloat64(gauge); got != n {
				t.Errorf("%v sessions are said to be open, want %v", got, n)
			}
		}
		ids := w.open("", "a", "", 4)
		w.wantOpen(7)
		wantGauge(4)
		w.must(w.removeSpares(t.Context())) // none is old
		w.wantOpen(7)
		w.advance(2 * time.Minute)
		ids = append(ids, w.open("", "a", "", 1)...)
		w.wantOpen(8)
		wantGauge(5)
		stopping, stop := context.WithCancel(t.Context())
		stop()
		w.must(w.removeSpares(stopping))
		w.wantOpen(5)
		wantGauge(5)
		w.close("", "a", ids)
		w.wantOpen(0)
		w.must(w.deleteObjects(t.Context()))
		if n := len(w.objects()); n != 5 {
			t.Errorf("%d objects, want 5", n)
		}

		ids = w.open("", "a", "", 4)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w.must(w.RunJobs(ctx)) // a stop leaves none
		w.wantOpen(4)
		w.close("", "a", ids)
		w.advance(2 * time.Minute)
		w.must(w.removeSpares(t.Context()))
		if n := len(w.spares.byOpener); n != 0 {
			t.Errorf("%d openers are remembered for ever", n)
		}
		w.settle(9)
	})
}

// What a dead process left behind expires.
func TestSparesExpire(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ids := w.open("", "a", "", 4)
		w.spares.remove(w.Now()) // what only memory knew is lost
		w.wantOpen(7)
		w.close("", "a", ids)
		w.settle(4)
		w.wantOpen(0)
	})
}

// Sessions that may not have been made are not given away, and those that could not be removed are
// not either.
func TestSparesFail(t *testing.T) {
	for _, step := range []string{"commit", "committed"} {
		each(t, Options{}, func(w *world) {
			ids := w.open("", "a", "", 3)
			fail := func(s string) error {
				if s == step {
					return errFault
				}
				return nil
			}
			w.failCommits(fail)
			for range 3 {
				if _, err := w.CreateUpload(t.Context(), by(""), "a", ""); !errors.Is(err, errFault) {
					t.Errorf("a POST whose %s failed: %v", step, err)
				}
			}
			if n := w.spares.count(); n != 0 {
				t.Errorf("%d sessions that may not exist are kept", n)
			}
			w.failCommits(nil)
			ids = append(ids, w.open("", "a", "", 2)...)
			w.failCommits(fail)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			w.must(w.RunJobs(ctx))
			if n := w.spares.count(); n != 0 {
				t.Errorf("%d sessions that may be gone are kept", n)
			}
			w.failCommits(nil)
			ids = append(ids, w.open("", "a", "", 2)...)
			w.close("", "a", ids)
			w.settle(7)
			w.wantOpen(0)
		})
	}
}

// However many openers there are, few are remembered, and all get their sessions.
func TestSparesAreBounded(t *testing.T) {
	each(t, Options{}, func(w *world) {
		for i := range maxOpeners + 5 {
			w.open(fmt.Sprint(i), "a", "", 1)
		}
		if n := len(w.spares.byOpener); n != maxOpeners {
			t.Errorf("%d openers are remembered", n)
		}
		commits := w.countCommits()
		ids := w.open("one too many", "a", "", 5)
		if *commits != 5 || w.spares.count() != 0 {
			t.Errorf("sessions of one who is not remembered: %d transactions, %d spare", *commits, w.spares.count())
		}
		w.close("one too many", "a", ids)
	})
}

// Whatever is removed meanwhile, a session that was given away is one that works, and one client's
// alone.
func TestSparesRace(t *testing.T) {
	each(t, Options{}, func(w *world) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[string]bool{}
		for range 8 {
			wg.Go(func() {
				for range 20 {
					up, err := w.CreateUpload(t.Context(), by(""), "a", "")
					if err == nil {
						_, err = w.Commit(t.Context(), "", "a", up.ID, digest.FromString(up.ID), chunk(up.ID))
					}
					mu.Lock()
					if err != nil || seen[up.ID] {
						t.Errorf("session %s, given before: %v, error: %v", up.ID, seen[up.ID], err)
					}
					seen[up.ID] = true
					mu.Unlock()
				}
			})
		}
		removing, done := context.WithCancel(t.Context())
		over := make(chan error)
		go func() {
			var err error
			for removing.Err() == nil && err == nil {
				err = w.removeSparesOf(t.Context(), w.Now())
				w.advance(time.Second)
			}
			over <- err
		}()
		wg.Wait()
		done()
		w.must(<-over)
		w.must(w.removeSparesOf(t.Context(), time.Unix(math.MaxInt32, 0)))
		w.wantOpen(0)
	})
}

// A session with bytes is never taken for a spare one.
func TestUsedSessionIsNotRemoved(t *testing.T) {
	each(t, Options{}, func(w *world) {
		id := w.open("", "a", "", 1)[0]
		_, err := w.Append(t.Context(), "", "a", id, chunk("hello"))
		w.must(err)
		if err := w.db.Tx(t.Context(), func(tx *meta.Tx) error { return tx.RemoveUnusedUploads([]string{id}) }); err == nil {
			t.Error("a session with bytes was removed as unused")
		}
		_, err = w.Commit(t.Context(), "", "a", id, digest.FromString("hello"), none)
		w.must(err)
		w.wantBlob("a", "hello")
	})
}
