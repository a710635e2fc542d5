package storage

import (
	"context"
	"math"
	"testing"
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
		tr.openSessions("alice", "a", "", 300)
		if *commits > 10 {
			t.Errorf("315 sessions took %d transactions", *commits)
		}
		tr.wantOpen(315)
		for _, id := range bobs {
			for caller, repo := range map[string]string{"alice": "b", "bob": "a"} {
				_, err := tr.Upload(ctx, caller, repo, id)
				tr.want(ErrUploadUnknown, err)
				_, err = tr.Append(ctx, caller, repo, id, chunk("hello"))
				tr.want(ErrUploadUnknown, err)
				_, err = tr.Commit(ctx, caller, repo, id, digest.FromString(""), emptyChunk)
				tr.want(ErrUploadUnknown, err)
				tr.want(ErrUploadUnknown, tr.CancelUpload(ctx, caller, repo, id))
			}
			up, err := tr.Upload(ctx, "bob", "b", id)
			tr.must(err)
			if up.Algorithm != digest.SHA512 {
				t.Errorf("a session of SHA-512 is one of %s", up.Algorithm)
			}
		}
		tr.finishSessions("alice", "a", ids)
		tr.finishSessions("bob", "b", bobs)
		tr.wantOpen(300)
	})
}

// TestPoolIsRetired checks that spare sessions do not get old. After a stop none is left, and each
// open session has its row.
func TestPoolIsRetired(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ids := tr.openSessions("", "a", "", 4) // of 7
		tr.advance(2 * time.Minute)
		ids = append(ids, tr.openSessions("", "a", "", 1)...)
		stopped, stop := context.WithCancel(t.Context())
		stop()
		tr.must(tr.RunJobs(stopped))
		tr.wantUploadRows(5)
		tr.wantOpen(5)
		tr.finishSessions("", "a", ids)
		tr.wantAfterJobs(5)
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
