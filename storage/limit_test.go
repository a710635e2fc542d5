package storage

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/meta"
)

// countCommits returns the number of transactions from now on, which grows.
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

// open opens n upload sessions and returns their ids, which differ.
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

// close finishes each session with a blob of its own.
func (w *world) close(caller, repo string, ids []string) {
	w.t.Helper()
	for _, id := range ids {
		_, err := w.Commit(w.t.Context(), caller, repo, id, digest.FromString(id), chunk(id))
		w.must(err)
		w.wantBlob(repo, id)
	}
}

// wantOpen checks how many upload sessions are open.
func (w *world) wantOpen(n int64) {
	w.t.Helper()
	if got := testutil.ToFloat64(w.Collectors()[0]); got != float64(n) {
		w.t.Fatalf("%v sessions are open, want %d", got, n)
	}
}

// TestD9SessionsPerCaller: a caller has as many open sessions as it may, whatever it opened before
// and however many ask at once; others do not notice.
func TestD9SessionsPerCaller(t *testing.T) {
	const most = 20
	each(t, Options{MaxSessions: most}, func(w *world) {
		ctx := t.Context()
		refused := func(repo string) {
			t.Helper()
			_, err := w.CreateUpload(ctx, by("alice"), repo, "")
			w.want(ErrTooManyUploads, err)
			if !strings.Contains(err.Error(), "you have 20 upload sessions open, and 20 is the most") {
				t.Error(err)
			}
			_, err = w.PutBlob(ctx, by("alice"), repo, digest.FromString("x"), chunk("x"))
			w.want(ErrTooManyUploads, err)
		}
		first := w.open("alice", "a", "", 9)
		w.open("alice", "b", "", most-9)
		refused("a")
		refused("c")
		w.wantOpen(most)
		w.push("a", "others push")
		w.open("bob", "a", "", 1)

		w.must(w.CancelUpload(ctx, "alice", "a", first[0]))
		w.open("alice", "c", "", 1)
		refused("a")
		w.close("alice", "a", first[1:4]) // finished ones do not count
		w.open("alice", "a", "", 2)
		_, err := w.PutBlob(ctx, by("alice"), "d", digest.FromString("whole"), chunk("whole"))
		w.must(err)
		w.open("alice", "a", "", 1)
		refused("a")

		// The next process counts the same.
		w.must(w.retireSpares(ctx))
		again, err := Open(ctx, w.db, w.bytes, Options{MaxSessions: most, Now: w.Now})
		w.must(err)
		_, err = again.CreateUpload(ctx, by("alice"), "a", "")
		w.want(ErrTooManyUploads, err)

		w.settle(5)
		w.open("alice", "a", "", most)
		refused("a")
	})
}

// TestD9SessionsRace: of many who ask at once as many get a session as there are left.
func TestD9SessionsRace(t *testing.T) {
	const most = 10
	each(t, Options{MaxSessions: most}, func(w *world) {
		var wg sync.WaitGroup
		var opened atomic.Int64
		for i := range 60 {
			wg.Go(func() {
				_, err := w.CreateUpload(t.Context(), by("alice"), fmt.Sprint("r", i%7), "")
				if err == nil {
					opened.Add(1)
				} else if !errors.Is(err, ErrTooManyUploads) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		_, err := w.CreateUpload(t.Context(), by("alice"), "a", "")
		if opened.Load() != most || !errors.Is(err, ErrTooManyUploads) {
			t.Errorf("%d sessions were opened, and one more: %v", opened.Load(), err)
		}
	})
}

// TestD9RequestsOfOneSession: many requests at once on few sessions are no way around the limit.
func TestD9RequestsOfOneSession(t *testing.T) {
	const most = 5
	for _, o := range []Options{{MaxSessions: most}, {MaxSessions: most, MaxInProgress: 1 << 40}} {
		each(t, o, func(w *world) {
			id := w.open("alice", "a", "", 1)[0]
			_, err := w.Append(t.Context(), "alice", "a", id, chunk("hello"))
			w.must(err)
			// Each begins another one before its first byte.
			var last error
			var begin func(running int)
			begin = func(running int) {
				_, err := w.Append(t.Context(), "alice", "a", id, Chunk{Offset: -1, Length: 10, Body: &zeros{n: 10, do: func() error {
					if running <= most {
						begin(running + 1)
					}
					return nil
				}}})
				if running > most {
					last = err
				}
			}
			begin(1)
			w.want(ErrTooManyUploads, last)
			w.must(w.CancelUpload(t.Context(), "alice", "a", id))
			if u := w.usage("alice"); u.Requests != 0 {
				t.Errorf("%d requests still count", u.Requests)
			}
		})
	}
}

// zeros is a body of n bytes that calls at before the byte of its number, if there is one.
type zeros struct {
	n, at int64
	do    func() error
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.do != nil && z.at <= 0 {
		do := z.do
		z.do = nil
		if err := do(); err != nil {
			return 0, err
		}
	}
	n := min(int64(len(p)), z.n)
	if z.do != nil {
		n = min(n, z.at)
	}
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	z.n, z.at = z.n-n, z.at-n
	return int(n), nil
}

// unread is the body of a request that is to be refused before it.
func (w *world) unread() io.Reader {
	return &zeros{n: 1, do: func() error {
		w.t.Error("the body of a request was read that was to be refused before")
		return nil
	}}
}

// usage is what counts for a caller.
func (w *world) usage(charged string) (u meta.Usage) {
	w.t.Helper()
	w.must(w.db.Tx(w.t.Context(), func(tx *meta.Tx) (err error) {
		u, err = tx.Usage(charged, w.now())
		return err
	}))
	return u
}

const mib = 1 << 20

// TestD9BytesPerCaller: what a caller has in progress stays within the limit, whatever is announced
// and in how many requests it comes.
func TestD9BytesPerCaller(t *testing.T) {
	each(t, Options{MaxInProgress: 16 * mib}, func(w *world) {
		ctx := t.Context()
		ids := w.open("alice", "a", "", 4)
		send := func(id string, n int64, announced bool) error {
			c := Chunk{Body: &zeros{n: n}, Offset: -1, Length: -1}
			if announced {
				c.Length = n
			}
			_, err := w.Append(ctx, "alice", "a", id, c)
			return err
		}
		announce := func(id string, n int64) error {
			_, err := w.Append(ctx, "alice", "a", id, Chunk{Body: w.unread(), Offset: -1, Length: n})
			return err
		}
		// As first bytes of a session, and as later ones; announced, and not.
		w.want(ErrTooManyUploads, announce(ids[0], 17*mib))
		w.want(ErrTooManyUploads, announce(ids[0], 17*mib))
		w.want(ErrTooManyUploads, announce(ids[0], math.MaxInt64>>1))
		w.want(ErrTooManyUploads, send(ids[1], 17*mib, false))
		w.want(ErrTooManyUploads, send(ids[1], 17*mib, false))
		w.must(send(ids[0], 5*mib, true))
		w.must(send(ids[1], 5*mib, false))
		w.must(send(ids[1], 2*mib, false))
		w.want(ErrTooManyUploads, announce(ids[0], 4*mib))
		w.want(ErrTooManyUploads, send(ids[2], 4*mib, false))
		up, err := w.Upload(ctx, "alice", "a", ids[2])
		w.must(err)
		if up.Size != 0 {
			t.Errorf("a chunk that was too much left %d bytes", up.Size)
		}
		w.want(ErrTooManyUploads, func() error {
			_, err := w.PutBlob(ctx, by("alice"), "b", digest.FromString("x"), Chunk{Body: w.unread(), Offset: -1, Length: 4 * mib})
			return err
		}())
		_, err = w.Commit(ctx, "alice", "a", ids[0], digest.FromString("x"), Chunk{Body: w.unread(), Offset: -1, Length: 4 * mib})
		w.want(ErrTooManyUploads, err)
		// A chunk of another length than it says is not let in by what it says.
		_, err = w.Append(ctx, "alice", "a", ids[2], Chunk{Body: &zeros{n: 17 * mib}, Offset: -1, Length: 10})
		w.want(ErrTooManyUploads, err)

		w.push("a", strings.Repeat("others", 1000)) // nobody else notices
		w.must(send(ids[3], 3*mib, true))
		for range 1000 { // small ones reach it too
			if err = send(ids[3], 1, true); err != nil {
				break
			}
		}
		w.want(ErrTooManyUploads, err)
		for range 10 { // and empty ones
			_, err = w.CreateUpload(ctx, by("alice"), "b", "")
		}
		w.want(ErrTooManyUploads, err)

		w.must(w.CancelUpload(ctx, "alice", "a", ids[0]))
		w.must(send(ids[3], 4*mib, true))
		d := digest.FromBytes(make([]byte, 7*mib))
		_, err = w.Commit(ctx, "alice", "a", ids[1], d, none)
		w.must(err)
		w.must(send(ids[2], 6*mib, true)) // what is finished does not count
		w.advance(48 * time.Hour)
		w.must(w.expireUploads(ctx))
		if u := w.usage("alice"); u != (meta.Usage{}) {
			t.Errorf("when all has expired, %+v counts", u)
		}
	})
}

// TestD9ClaimsOfRunningRequests: requests that run count with what they may receive, however they
// end.
func TestD9ClaimsOfRunningRequests(t *testing.T) {
	each(t, Options{MaxInProgress: 16 * mib}, func(w *world) {
		ctx := t.Context()
		var other func() error
		run := func(id string, size, at int64, during func() error) error {
			_, err := w.Append(ctx, "alice", "a", id, Chunk{Body: &zeros{n: size, at: at, do: during}, Offset: -1, Length: size})
			return err
		}
		for range 2 { // as first bytes of the sessions and as later ones
			ids := w.open("alice", "a", "", 3)
			other = func() error {
				w.want(ErrTooManyUploads, run(ids[1], 6*mib, 0, func() error { return errors.New("read") }))
				return nil
			}
			w.must(run(ids[0], 11*mib, 0, other))
			w.must(run(ids[1], 4*mib, 0, nil))
			w.must(w.CancelUpload(ctx, "alice", "a", ids[0]))
			// One whose client goes away counts with what came.
			if err := run(ids[1], 10*mib, 2*mib, func() error { return errConnection }); !errors.Is(err, ErrClientBody) {
				t.Errorf("a broken body: %v", err)
			}
			w.must(run(ids[2], 9*mib, 0, nil))
			w.must(w.CancelUpload(ctx, "alice", "a", ids[1]))
			w.must(w.CancelUpload(ctx, "alice", "a", ids[2]))
			// One whose session ends under it counts until it ends, too.
			id := w.open("alice", "a", "", 1)[0]
			w.must(run(id, 10, 0, nil))
			err := run(id, 11*mib, 0, func() error {
				w.must(w.CancelUpload(ctx, "alice", "a", id))
				next := w.open("alice", "a", "", 1)[0]
				w.want(ErrTooManyUploads, run(next, 6*mib, 0, func() error { return errors.New("read") }))
				return w.CancelUpload(ctx, "alice", "a", next)
			})
			w.want(ErrUploadUnknown, err)
			if u := w.usage("alice"); u != (meta.Usage{}) {
				t.Errorf("when all has ended, %+v counts", u)
			}
		}
		// That of a process that died counts until its lease ends, or is renewed.
		id := w.open("alice", "a", "", 1)[0]
		died := errors.New("the process died")
		w.bytes.Fail = func(op, _ string) (bool, error) {
			if op == "put" {
				panic(died)
			}
			return true, nil
		}
		func() {
			defer func() {
				if recover() != any(died) {
					t.Error("it did not die")
				}
			}()
			run(id, 11*mib, 0, nil)
		}()
		w.bytes.Fail = nil
		w.want(ErrTooManyUploads, run(id, 6*mib, 0, nil))
		w.advance(writerLease)
		w.must(run(id, 6*mib, 0, func() error { w.advance(2 * renewEvery); return nil }))
	})
}

// TestD9SmallFirstBodies: the first bytes of a session ask nobody while they are few, and small
// blobs need no transaction more than without a limit.
func TestD9SmallFirstBodies(t *testing.T) {
	each(t, Options{MaxSessions: 100, MaxInProgress: 1 << 40}, func(w *world) {
		ids := w.open("alice", "a", "", 2)
		commits := w.countCommits()
		_, err := w.Append(t.Context(), "alice", "a", ids[0], chunk("hello"))
		w.must(err)
		if *commits != 1 {
			t.Errorf("a small chunk took %d transactions", *commits)
		}
		_, err = w.Commit(t.Context(), "alice", "a", ids[1], digest.FromString("hello"), Chunk{Body: strings.NewReader("hello"), Offset: -1, Length: -1})
		w.must(err)
		if *commits != 2 {
			t.Errorf("two small chunks took %d transactions", *commits)
		}
	})
}

// TestD9NoSessionsWithoutSpace: clients that try again and again while the disk is full open no
// sessions.
func TestD9NoSessionsWithoutSpace(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, "file://"+dir+"/blobs", "sqlite:"+dir+"/berth.db", Options{MaxSessions: 2})
	w.bytes.Store = bucket.LimitSpace(w.bucket, math.MaxInt64, dir)
	for range 3 {
		_, err := w.CreateUpload(t.Context(), by("alice"), "a", "")
		w.want(ErrNoSpace, err)
	}
	w.wantOpen(0)
	w.bytes.Store = w.bucket
	w.close("alice", "a", w.open("alice", "a", "", 2))
}
