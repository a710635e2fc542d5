package storage

import (
	"context"
	"fmt"
	"math"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"
)

// wantUploadRows checks that n sessions have rows: open, finished and spare ones.
func (tr *testRegistry) wantUploadRows(n int) {
	tr.t.Helper()
	rows, err := tr.db.IdleUploads(tr.t.Context(), math.MaxInt64, math.MaxInt64, 1000)
	tr.must(err)
	if len(rows) != n {
		tr.t.Errorf("%d sessions have rows, want %d: %v", len(rows), n, rows)
	}
}

// TestPoolSavesTransactions checks that the sessions of all callers come from the same batches, and
// that only its own caller can use a session, in its repository.
func TestPoolSavesTransactions(t *testing.T) {
	onEachStore(t, Options{MaxSessions: 1000}, func(tr *testRegistry) {
		ctx, commits := t.Context(), tr.countCommits()
		ids := tr.openSessions("alice", "a", "", 7)
		if *commits != 3 {
			t.Errorf("7 sessions took %d transactions, want 3: for 1, 2 and 4", *commits)
		}
		bobs := tr.openSessions("bob", "b", digest.SHA512, 8)
		for _, id := range bobs {
			for caller, repo := range map[string]string{"alice": "b", "bob": "a"} {
				_, err := tr.Upload(ctx, caller, repo, id)
				tr.want(ErrUploadUnknown, err)
				_, err = tr.Commit(ctx, caller, repo, id, digest.FromString(""), emptyChunk)
				tr.want(ErrUploadUnknown, err)
				tr.want(ErrUploadUnknown, tr.CancelUpload(ctx, caller, repo, id))
				_, err = tr.Append(ctx, caller, repo, id, chunk("hello"))
				tr.want(ErrUploadUnknown, err)
			}
			up, err := tr.Upload(ctx, "bob", "b", id)
			tr.must(err)
			if up.Algorithm != digest.SHA512 {
				t.Errorf("a session of SHA-512 is one of %s", up.Algorithm)
			}
		}
		for i := range 300 {
			tr.openSessions(fmt.Sprint(i), "a", "", 1)
		}
		if n := len(tr.pool.remaining); *commits > 10 || n > maxSpares {
			t.Errorf("315 sessions took %d transactions; %d callers are remembered", *commits, n)
		}
		tr.wantOpen(315)
		tr.finishSessions("alice", "a", ids)
		tr.finishSessions("bob", "b", bobs)
		tr.wantOpen(300)
	})
}

// TestPoolUndone checks that a session whose transaction was undone is still its caller's, and
// counts.
func TestPoolUndone(t *testing.T) {
	for name, try := range map[string]func(tr *testRegistry, id string) error{
		"chunk": func(tr *testRegistry, id string) error {
			_, err := tr.Append(tr.t.Context(), "alice", "a", id, chunk("x"))
			return err
		},
		"later chunk": func(tr *testRegistry, id string) error {
			tr.reservations.take(id)
			_, err := tr.Append(tr.t.Context(), "alice", "a", id, chunk("x"))
			return err
		},
		"commit": func(tr *testRegistry, id string) error {
			_, err := tr.Commit(tr.t.Context(), "alice", "a", id, digest.FromString(""), emptyChunk)
			return err
		},
		"cancel": func(tr *testRegistry, id string) error { return tr.CancelUpload(tr.t.Context(), "alice", "a", id) },
		"batch": func(tr *testRegistry, _ string) error {
			_, err := tr.CreateUpload(tr.t.Context(), callerOf("bob"), "a", "")
			return err
		},
		"retire": func(tr *testRegistry, _ string) error { return tr.retireSpares(tr.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			onEachStore(t, Options{MaxSessions: 1}, func(tr *testRegistry) {
				id := tr.openSessions("alice", "a", digest.SHA512, 1)[0]
				tr.failCommits(func(string) error { return errFault })
				tr.want(errFault, try(tr, id))
				tr.failCommits(nil)
				_, err := tr.Upload(t.Context(), "bob", "a", id)
				tr.want(ErrUploadUnknown, err)
				_, err = tr.CreateUpload(t.Context(), callerOf("alice"), "a", "")
				tr.want(ErrTooManyUploads, err)
				up, err := tr.Append(t.Context(), "alice", "a", id, chunk("hello"))
				tr.must(err)
				if up.Size != 5 || up.Algorithm != digest.SHA512 {
					t.Errorf("the session is %+v", up)
				}
				tr.wantOpen(1)
			})
		})
	}
}

// TestPoolFails checks that callers get no session that may not exist, and that no spare one is
// left of transactions whose outcome was unknown.
func TestPoolFails(t *testing.T) {
	for _, step := range []string{"commit", "committed"} {
		onEachStore(t, Options{}, func(tr *testRegistry) {
			ids := tr.openSessions("", "a", "", 5) // of 7
			tr.failCommits(func(s string) error {
				if s == step {
					return errFault
				}
				return nil
			})
			tr.want(errFault, tr.retireSpares(t.Context()))
			for range 3 {
				_, err := tr.CreateUpload(t.Context(), callerOf(""), "a", "")
				tr.want(errFault, err)
			}
			tr.failCommits(nil)
			ids = append(ids, tr.openSessions("", "a", "", 2)...)
			tr.must(tr.retireSpares(t.Context()))
			tr.wantUploadRows(7)
			tr.finishSessions("", "a", ids)
		})
	}
}

// TestBrokenPutBlobTakesNoSession checks that a body that breaks before its first byte costs no
// transaction.
func TestBrokenPutBlobTakesNoSession(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		commits := tr.countCommits()
		broken := Chunk{Body: iotest.ErrReader(errFault), Offset: -1, Length: -1}
		_, err := tr.PutBlob(t.Context(), callerOf(""), "a", digest.FromString("x"), broken)
		tr.want(ErrClientBody, err)
		if *commits != 0 {
			t.Errorf("it took %d transactions", *commits)
		}
	})
}

// TestPoolIsRetired checks that spare sessions do not get old. After a stop none is left, and each
// open session has its row.
func TestPoolIsRetired(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ids := tr.openSessions("", "a", "", 4) // of 7
		tr.advance(3 * time.Minute)
		ids = append(ids, tr.openSessions("", "a", "", 8)...) // of which the last is the first of a batch
		tr.must(tr.retireSpares(t.Context()))
		tr.wantUploadRows(12)
		ids = append(ids, tr.openSessions("", "a", "", 1)...) // of 1
		stopped, stop := context.WithCancel(t.Context())
		stop()
		tr.must(tr.RunJobs(stopped))
		tr.wantUploadRows(13)
		up, err := tr.db.Upload(t.Context(), "a", ids[12])
		tr.must(err)
		if up.Repository != "a" {
			t.Error("a session that is open has no caller after a stop")
		}
		tr.wantOpen(13)
		tr.finishSessions("", "a", ids)
		tr.wantAfterJobs(13)
	})
}

// TestPoolHasNoOldSessions checks that a new session does not expire early, also if the jobs are
// late.
func TestPoolHasNoOldSessions(t *testing.T) {
	onEachStore(t, Options{UploadExpiry: time.Minute}, func(tr *testRegistry) {
		tr.openSessions("", "a", "", 2) // of 3
		tr.advance(59 * time.Second)
		ids := tr.openSessions("", "a", "", 1)
		tr.advance(2 * time.Second)
		tr.must(tr.expireUploads(t.Context()))
		tr.finishSessions("", "a", ids)
	})
}

// TestPoolOfADeadProcess checks that a session whose row was spare when its process died belongs to
// its caller, from the first request on that changes it.
func TestPoolOfADeadProcess(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		ids := tr.openSessions("alice", "a", digest.SHA512, 4)
		r, err := Open(ctx, tr.db, tr.faulty, Options{Now: tr.Now})
		tr.must(err)
		tr.Registry = r
		for _, id := range ids {
			up, err := tr.Upload(ctx, "alice", "a", id)
			tr.must(err)
			if up.Size != 0 {
				t.Errorf("a new session has %d bytes", up.Size)
			}
		}
		_, err = tr.Append(ctx, "alice", "a", ids[0], chunk("hel"))
		tr.must(err)
		_, err = tr.Append(ctx, "bob", "a", ids[0], chunk("lo"))
		tr.want(ErrUploadUnknown, err)
		_, err = tr.Commit(ctx, "alice", "a", ids[0], digest.FromString("hello"), chunk("lo"))
		tr.must(err)
		_, err = tr.Commit(ctx, "alice", "a", ids[1], digest.SHA512.FromString("world"), chunk("world"))
		tr.must(err)
		for range 2 { // the second is a repeated one
			_, err = tr.Commit(ctx, "alice", "a", ids[2], digest.FromString(""), emptyChunk)
			tr.must(err)
		}
		tr.must(tr.CancelUpload(ctx, "alice", "a", ids[3]))
		_, err = tr.Upload(ctx, "alice", "a", ids[3])
		tr.want(ErrUploadUnknown, err)
		tr.wantOpen(0)
		tr.wantAfterJobs(3)
		tr.wantUploadRows(0)
	})
}
