package storage

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// wantUploads wants n sessions to have rows: open, finished and spare ones.
func (w *world) wantUploads(n int) {
	w.t.Helper()
	rows, err := w.db.IdleUploads(w.t.Context(), math.MaxInt64, math.MaxInt64, 1000)
	w.must(err)
	if len(rows) != n {
		w.t.Errorf("%d sessions have rows, want %d: %v", len(rows), n, rows)
	}
}

// TestPoolSavesTransactions checks that sessions of all callers come from the same batches, and that
// each belongs to its caller, repository and algorithm alone.
func TestPoolSavesTransactions(t *testing.T) {
	each(t, Options{MaxSessions: 1000}, func(w *world) {
		ctx, commits := t.Context(), w.countCommits()
		ids := w.open("alice", "a", "", 7)
		if *commits != 3 {
			t.Errorf("7 sessions took %d transactions, want 3: for 1, 2 and 4", *commits)
		}
		bobs := w.open("bob", "b", digest.SHA512, 8)
		w.open("alice", "a", "", 300)
		if *commits > 10 {
			t.Errorf("315 sessions took %d transactions", *commits)
		}
		w.wantOpen(315)
		for _, id := range bobs {
			for caller, repo := range map[string]string{"alice": "b", "bob": "a"} {
				_, err := w.Upload(ctx, caller, repo, id)
				w.want(ErrUploadUnknown, err)
				_, err = w.Append(ctx, caller, repo, id, chunk("hello"))
				w.want(ErrUploadUnknown, err)
				_, err = w.Commit(ctx, caller, repo, id, digest.FromString(""), none)
				w.want(ErrUploadUnknown, err)
				w.want(ErrUploadUnknown, w.CancelUpload(ctx, caller, repo, id))
			}
			up, err := w.Upload(ctx, "bob", "b", id)
			w.must(err)
			if up.Algorithm != digest.SHA512 {
				t.Errorf("a session of SHA-512 is one of %s", up.Algorithm)
			}
		}
		w.close("alice", "a", ids)
		w.close("bob", "b", bobs)
		w.wantOpen(300)
	})
}

// TestPoolIsRetired checks that spare sessions do not get old, and that nothing is left of them
// after a stop, when each open session has its row.
func TestPoolIsRetired(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ids := w.open("", "a", "", 4) // of 7
		w.advance(2 * time.Minute)
		ids = append(ids, w.open("", "a", "", 1)...)
		stopped, stop := context.WithCancel(t.Context())
		stop()
		w.must(w.RunJobs(stopped))
		w.wantUploads(5)
		w.wantOpen(5)
		w.close("", "a", ids)
		w.settle(5)
	})
}

// TestPoolOfADeadProcess checks that a session whose row was spare when its process died is its
// caller's, from the first request on that changes it.
func TestPoolOfADeadProcess(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		ids := w.open("alice", "a", digest.SHA512, 4)
		r, err := Open(ctx, w.db, w.bytes, Options{Now: w.Now})
		w.must(err)
		w.Registry = r
		for _, id := range ids {
			up, err := w.Upload(ctx, "alice", "a", id)
			w.must(err)
			if up.Size != 0 {
				t.Errorf("a new session has %d bytes", up.Size)
			}
		}
		_, err = w.Append(ctx, "alice", "a", ids[0], chunk("hel"))
		w.must(err)
		_, err = w.Append(ctx, "bob", "a", ids[0], chunk("lo"))
		w.want(ErrUploadUnknown, err)
		_, err = w.Commit(ctx, "alice", "a", ids[0], digest.FromString("hello"), chunk("lo"))
		w.must(err)
		_, err = w.Commit(ctx, "alice", "a", ids[1], digest.SHA512.FromString("world"), chunk("world"))
		w.must(err)
		for range 2 { // the second is a repeated one
			_, err = w.Commit(ctx, "alice", "a", ids[2], digest.FromString(""), none)
			w.must(err)
		}
		w.must(w.CancelUpload(ctx, "alice", "a", ids[3]))
		_, err = w.Upload(ctx, "alice", "a", ids[3])
		w.want(ErrUploadUnknown, err)
		w.wantOpen(0)
		w.settle(3)
		w.wantUploads(0)
	})
}
