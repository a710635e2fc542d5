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

// countCommits returns a counter of the commits from now on.
func (tr *testRegistry) countCommits() *int {
	n := new(int)
	tr.failCommits(func(step string) error {
		if step == "commit" {
			*n++
		}
		return nil
	})
	return n
}

// openSessions opens n upload sessions and returns their ids, which differ.
func (tr *testRegistry) openSessions(caller, repo string, alg digest.Algorithm, n int) (ids []string) {
	tr.t.Helper()
	seen := map[string]bool{}
	for range n {
		up, err := tr.CreateUpload(tr.t.Context(), callerOf(caller), repo, alg)
		tr.must(err)
		if seen[up.ID] || up.Size != 0 {
			tr.t.Fatalf("a new session is %+v", up)
		}
		seen[up.ID] = true
		ids = append(ids, up.ID)
	}
	return ids
}

// finishSessions finishes each session with a blob of its own.
func (tr *testRegistry) finishSessions(caller, repo string, ids []string) {
	tr.t.Helper()
	for _, id := range ids {
		_, err := tr.Commit(tr.t.Context(), caller, repo, id, digest.FromString(id), chunk(id))
		tr.must(err)
		tr.wantBlob(repo, id)
	}
}

// wantOpen checks how many upload sessions are open.
func (tr *testRegistry) wantOpen(n int64) {
	tr.t.Helper()
	if got := testutil.ToFloat64(tr.Collectors()[0]); got != float64(n) {
		tr.t.Fatalf("%v sessions are open, want %d", got, n)
	}
}

// TestD9SessionsPerCaller checks the limit of open sessions: it counts the sessions of one caller
// in all repositories and after a restart, but neither finished sessions nor those of other
// callers.
func TestD9SessionsPerCaller(t *testing.T) {
	const most = 20
	onEachStore(t, Options{MaxSessions: most}, func(tr *testRegistry) {
		ctx := t.Context()
		refused := func(repo string) {
			t.Helper()
			_, err := tr.CreateUpload(ctx, callerOf("alice"), repo, "")
			tr.want(ErrTooManyUploads, err)
			if !strings.Contains(err.Error(), "you have 20 upload sessions open, and 20 is the most") {
				t.Error(err)
			}
			_, err = tr.PutBlob(ctx, callerOf("alice"), repo, digest.FromString("x"), chunk("x"))
			tr.want(ErrTooManyUploads, err)
		}
		first := tr.openSessions("alice", "a", "", 9)
		tr.openSessions("alice", "b", "", most-9)
		refused("a")
		refused("c")
		tr.wantOpen(most)
		tr.push("a", "others push")
		tr.openSessions("bob", "a", "", 1)

		tr.must(tr.CancelUpload(ctx, "alice", "a", first[0]))
		tr.openSessions("alice", "c", "", 1)
		refused("a")
		tr.finishSessions("alice", "a", first[1:4]) // finished ones do not count
		tr.openSessions("alice", "a", "", 2)
		_, err := tr.PutBlob(ctx, callerOf("alice"), "d", digest.FromString("whole"), chunk("whole"))
		tr.must(err)
		tr.openSessions("alice", "a", "", 1)
		refused("a")

		// The next process counts the same.
		tr.must(tr.retireSpares(ctx))
		again, err := Open(ctx, tr.db, tr.faulty, Options{MaxSessions: most, Now: tr.Now})
		tr.must(err)
		_, err = again.CreateUpload(ctx, callerOf("alice"), "a", "")
		tr.want(ErrTooManyUploads, err)

		tr.wantAfterJobs(5)
		tr.openSessions("alice", "a", "", most)
		refused("a")
	})
}

// TestD9SessionsRace checks that simultaneous requests open exactly as many sessions as the limit.
func TestD9SessionsRace(t *testing.T) {
	const most = 10
	onEachStore(t, Options{MaxSessions: most}, func(tr *testRegistry) {
		var wg sync.WaitGroup
		var opened atomic.Int64
		for i := range 60 {
			wg.Go(func() {
				_, err := tr.CreateUpload(t.Context(), callerOf("alice"), fmt.Sprint("r", i%7), "")
				if err == nil {
					opened.Add(1)
				} else if !errors.Is(err, ErrTooManyUploads) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		_, err := tr.CreateUpload(t.Context(), callerOf("alice"), "a", "")
		if opened.Load() != most || !errors.Is(err, ErrTooManyUploads) {
			t.Errorf("%d sessions were opened, and one more: %v", opened.Load(), err)
		}
	})
}

// TestD9RequestsOfOneSession checks that the requests with bytes of one caller are limited, also if
// they are on one session.
func TestD9RequestsOfOneSession(t *testing.T) {
	const most = 5
	for _, o := range []Options{{MaxSessions: most}, {MaxSessions: most, MaxInProgress: 1 << 40}} {
		onEachStore(t, o, func(tr *testRegistry) {
			id := tr.openSessions("alice", "a", "", 1)[0]
			_, err := tr.Append(t.Context(), "alice", "a", id, chunk("hello"))
			tr.must(err)
			// Each begins another one before its first byte.
			var last error
			var begin func(running int)
			begin = func(running int) {
				_, err := tr.Append(t.Context(), "alice", "a", id, Chunk{Offset: -1, Length: 10, Body: &zeros{n: 10, before: func() error {
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
			tr.want(ErrTooManyUploads, last)
			tr.must(tr.CancelUpload(t.Context(), "alice", "a", id))
			if u := tr.usage("alice"); u.Requests != 0 {
				t.Errorf("%d requests still count", u.Requests)
			}
		})
	}
}

// zeros is a body of n bytes. It calls before, unless that is nil, when offset bytes are read.
type zeros struct {
	n, offset int64
	before    func() error
}

func (z *zeros) Read(p []byte) (int, error) {
	if z.before != nil && z.offset <= 0 {
		do := z.before
		z.before = nil
		if err := do(); err != nil {
			return 0, err
		}
	}
	n := min(int64(len(p)), z.n)
	if z.before != nil {
		n = min(n, z.offset)
	}
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	z.n, z.offset = z.n-n, z.offset-n
	return int(n), nil
}

// mustNotRead returns the body of a request that must be refused before its body is read.
func (tr *testRegistry) mustNotRead() io.Reader {
	return &zeros{n: 1, before: func() error {
		tr.t.Error("the body of a request was read that was to be refused before")
		return nil
	}}
}

// usage returns the usage of a caller.
func (tr *testRegistry) usage(charged string) (u meta.Usage) {
	tr.t.Helper()
	tr.must(tr.db.Tx(tr.t.Context(), func(tx *meta.Tx) (err error) {
		u, err = tx.Usage(charged, tr.nowMicro())
		return err
	}))
	return u
}

const mib = 1 << 20

// TestD9BytesPerCaller checks that the bytes that a caller has in progress stay within the limit,
// with and without an announced length, and in few or many requests.
func TestD9BytesPerCaller(t *testing.T) {
	onEachStore(t, Options{MaxInProgress: 16 * mib, MaxSessions: 1000}, func(tr *testRegistry) {
		ctx := t.Context()
		ids := tr.openSessions("alice", "a", "", 4)
		send := func(id string, n int64, announced bool) error {
			c := Chunk{Body: &zeros{n: n}, Offset: -1, Length: -1}
			if announced {
				c.Length = n
			}
			_, err := tr.Append(ctx, "alice", "a", id, c)
			return err
		}
		announce := func(id string, n int64) error {
			_, err := tr.Append(ctx, "alice", "a", id, Chunk{Body: tr.mustNotRead(), Offset: -1, Length: n})
			return err
		}
		// As first bytes of a session, and as later ones; announced, and not.
		tr.want(ErrTooManyUploads, announce(ids[0], 17*mib))
		tr.want(ErrTooManyUploads, announce(ids[0], 17*mib))
		tr.want(ErrTooManyUploads, announce(ids[0], math.MaxInt64>>1))
		tr.want(ErrTooManyUploads, send(ids[1], 17*mib, false))
		tr.want(ErrTooManyUploads, send(ids[1], 17*mib, false))
		tr.must(send(ids[0], 5*mib, true))
		tr.must(send(ids[1], 5*mib, false))
		tr.must(send(ids[1], 2*mib, false))
		tr.want(ErrTooManyUploads, announce(ids[0], 4*mib))
		tr.want(ErrTooManyUploads, send(ids[2], 4*mib, false))
		up, err := tr.Upload(ctx, "alice", "a", ids[2])
		tr.must(err)
		if up.Size != 0 {
			t.Errorf("a chunk that was too much left %d bytes", up.Size)
		}
		tr.want(ErrTooManyUploads, func() error {
			_, err := tr.PutBlob(ctx, callerOf("alice"), "b", digest.FromString("x"), Chunk{Body: tr.mustNotRead(), Offset: -1, Length: 4 * mib})
			return err
		}())
		_, err = tr.Commit(ctx, "alice", "a", ids[0], digest.FromString("x"), Chunk{Body: tr.mustNotRead(), Offset: -1, Length: 4 * mib})
		tr.want(ErrTooManyUploads, err)
		// A chunk that is longer than its announced length is refused too.
		_, err = tr.Append(ctx, "alice", "a", ids[2], Chunk{Body: &zeros{n: 17 * mib}, Offset: -1, Length: 10})
		tr.want(ErrTooManyUploads, err)

		tr.push("a", strings.Repeat("others", 1000)) // other callers have their own limit
		tr.must(send(ids[3], 3*mib, true))
		for range 1000 { // small chunks reach the limit too
			if err = send(ids[3], 1, true); err != nil {
				break
			}
		}
		tr.want(ErrTooManyUploads, err)
		for range 10 { // and sessions without bytes
			_, err = tr.CreateUpload(ctx, callerOf("alice"), "b", "")
		}
		tr.want(ErrTooManyUploads, err)
		_, err = tr.CreateUpload(ctx, callerOf("alice"), "b", "")
		tr.want(ErrTooManyUploads, err)

		tr.must(tr.CancelUpload(ctx, "alice", "a", ids[0]))
		tr.must(send(ids[3], 4*mib, true))
		d := digest.FromBytes(make([]byte, 7*mib))
		_, err = tr.Commit(ctx, "alice", "a", ids[1], d, emptyChunk)
		tr.must(err)
		tr.must(send(ids[2], 6*mib, true)) // finished sessions do not count
		tr.advance(48 * time.Hour)
		tr.must(tr.expireUploads(ctx))
		if u := tr.usage("alice"); u != (meta.Usage{}) {
			t.Errorf("when all has expired, %+v counts", u)
		}
	})
}

// TestD9ClaimsOfRunningRequests checks that the allowance of a running request counts until the
// request ends, however it ends.
func TestD9ClaimsOfRunningRequests(t *testing.T) {
	onEachStore(t, Options{MaxInProgress: 16 * mib}, func(tr *testRegistry) {
		ctx := t.Context()
		var other func() error
		run := func(id string, size, at int64, during func() error) error {
			_, err := tr.Append(ctx, "alice", "a", id, Chunk{Body: &zeros{n: size, offset: at, before: during}, Offset: -1, Length: size})
			return err
		}
		for range 2 { // as first bytes of the sessions and as later ones
			ids := tr.openSessions("alice", "a", "", 3)
			other = func() error {
				tr.want(ErrTooManyUploads, run(ids[1], 6*mib, 0, func() error { return errors.New("read") }))
				return nil
			}
			tr.must(run(ids[0], 11*mib, 0, other))
			tr.must(run(ids[1], 4*mib, 0, nil))
			tr.must(tr.CancelUpload(ctx, "alice", "a", ids[0]))
			// After a client disconnects, the bytes that arrived count.
			if err := run(ids[1], 10*mib, 2*mib, func() error { return errConnection }); !errors.Is(err, ErrClientBody) {
				t.Errorf("a broken body: %v", err)
			}
			tr.must(run(ids[2], 9*mib, 0, nil))
			tr.must(tr.CancelUpload(ctx, "alice", "a", ids[1]))
			tr.must(tr.CancelUpload(ctx, "alice", "a", ids[2]))
			// A request whose session has ended counts until it ends itself.
			id := tr.openSessions("alice", "a", "", 1)[0]
			tr.must(run(id, 10, 0, nil))
			err := run(id, 11*mib, 0, func() error {
				tr.must(tr.CancelUpload(ctx, "alice", "a", id))
				next := tr.openSessions("alice", "a", "", 1)[0]
				tr.want(ErrTooManyUploads, run(next, 6*mib, 0, func() error { return errors.New("read") }))
				return tr.CancelUpload(ctx, "alice", "a", next)
			})
			tr.want(ErrUploadUnknown, err)
			if u := tr.usage("alice"); u != (meta.Usage{}) {
				t.Errorf("when all has ended, %+v counts", u)
			}
		}
		// The request of a process that died counts until its lease ends.
		id := tr.openSessions("alice", "a", "", 1)[0]
		died := errors.New("the process died")
		tr.faulty.Fail = func(op, _ string) (bool, error) {
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
		tr.faulty.Fail = nil
		tr.want(ErrTooManyUploads, run(id, 6*mib, 0, nil))
		tr.advance(writerLease)
		tr.must(run(id, 6*mib, 0, func() error { tr.advance(2 * renewEvery); return nil }))
	})
}

// TestD9SmallFirstBodies checks that a small first body of a session needs no transaction more than
// without a limit.
func TestD9SmallFirstBodies(t *testing.T) {
	onEachStore(t, Options{MaxSessions: 100, MaxInProgress: 1 << 40}, func(tr *testRegistry) {
		ids := tr.openSessions("alice", "a", "", 2)
		commits := tr.countCommits()
		_, err := tr.Append(t.Context(), "alice", "a", ids[0], chunk("hello"))
		tr.must(err)
		if *commits != 1 {
			t.Errorf("a small chunk took %d transactions", *commits)
		}
		_, err = tr.Commit(t.Context(), "alice", "a", ids[1], digest.FromString("hello"), Chunk{Body: strings.NewReader("hello"), Offset: -1, Length: -1})
		tr.must(err)
		if *commits != 2 {
			t.Errorf("two small chunks took %d transactions", *commits)
		}
	})
}

// TestD9NoSessionsWithoutSpace checks that no session is opened while the disk is full, however
// often a client tries.
func TestD9NoSessionsWithoutSpace(t *testing.T) {
	dir := t.TempDir()
	tr := newTestRegistry(t, "file://"+dir+"/blobs", "sqlite:"+dir+"/berth.db", Options{MaxSessions: 2})
	tr.faulty.Store = bucket.LimitSpace(tr.bucket, math.MaxInt64, dir)
	for range 3 {
		_, err := tr.CreateUpload(t.Context(), callerOf("alice"), "a", "")
		tr.want(ErrNoSpace, err)
	}
	tr.wantOpen(0)
	tr.faulty.Store = tr.bucket
	tr.finishSessions("alice", "a", tr.openSessions("alice", "a", "", 2))
}
