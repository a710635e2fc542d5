package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// wantRepositoryRows checks that each of the repositories has a row, or that none of them has.
func (tr *testRegistry) wantRepositoryRows(want bool, repos ...string) {
	tr.t.Helper()
	for _, repo := range repos {
		err := tr.db.Tx(tr.t.Context(), func(tx *meta.Tx) error {
			_, err := tx.Repo(repo)
			return err
		})
		if has := err == nil; has != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
			tr.t.Errorf("%s has a row: %v (%v), want %v", repo, has, err, want)
		}
	}
}

// TestD9RepositoriesWithoutContent checks that a repository that gets no content has no row,
// however its uploads end.
func TestD9RepositoriesWithoutContent(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		open := func(repo string) string {
			t.Helper()
			up, err := tr.CreateUpload(ctx, callerOf(""), repo, "")
			tr.must(err)
			return up.ID
		}
		tr.must(tr.CancelUpload(ctx, "", "cancelled", open("cancelled")))
		_, err := tr.Append(ctx, "", "expired", open("expired"), chunk("hello"))
		tr.must(err)
		_, err = tr.Commit(ctx, "", "mismatch", open("mismatch"), digest.FromString("other"), chunk("hello"))
		if err == nil {
			t.Error("a wrong digest was taken")
		}
		_, err = tr.PutBlob(ctx, callerOf(""), "whole", digest.FromString("other"), chunk("hello"))
		if err == nil {
			t.Error("a wrong digest was taken")
		}
		_, err = tr.Mount(ctx, "", "mounted", digest.FromString("hello"), "nowhere")
		tr.want(ErrBlobUnknown, err)
		tr.want(ErrManifestBlobUnknown, tr.PutManifest(ctx, "", "pushed", tr.image("", "a", "b"), []string{"v1"}, Condition{}))

		tr.push("content", "hello")
		tr.push("deleted", "hello")
		tr.must(tr.DeleteBlob(ctx, "", "deleted", digest.FromString("hello")))
		tr.push("some", "hello")
		tr.push("some", "world")
		tr.must(tr.DeleteBlob(ctx, "", "some", digest.FromString("hello")))
		tr.push("listed", "a")
		tr.push("listed", "b")
		m := tr.image("", "a", "b")
		tr.put("listed", m, "v1")
		tr.must(tr.DeleteManifest(ctx, "", "listed", m.Digest))
		tr.must(tr.DeleteBlob(ctx, "", "listed", digest.FromString("a")))
		tr.must(tr.DeleteBlob(ctx, "", "listed", digest.FromString("b")))

		tr.wantAfterJobs(4)
		tr.wantOpen(0)
		tr.wantRepositoryRows(false, "cancelled", "expired", "mismatch", "whole", "mounted", "pushed", "deleted")
		tr.wantRepositoryRows(true, "content", "some", "listed")
		repos, err := tr.Repositories(ctx, "", "", 10)
		tr.must(err)
		if fmt.Sprint(repos) != "[listed]" {
			t.Errorf("listed are %v", repos)
		}
	})
}

// TestD9RepositoryComesAgain checks that an upload ends in the repository in which it began, also
// if that repository was deleted meanwhile and another one has the id of its row.
func TestD9RepositoryComesAgain(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		tr.push("a", "first")
		up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
		tr.must(err)
		_, err = tr.Append(ctx, "", "a", up.ID, chunk("hello "))
		tr.must(err)
		unused, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
		tr.must(err)
		tr.must(tr.DeleteBlob(ctx, "", "a", digest.FromString("first")))
		tr.wantRepositoryRows(false, "a")
		tr.push("b", "second") // its row has the id that the row of a had
		for _, end := range []struct{ id, last, whole string }{{up.ID, "world", "hello world"}, {unused.ID, "unused", "unused"}} {
			_, err = tr.Commit(ctx, "", "a", end.id, digest.FromString(end.whole), chunk(end.last))
			tr.must(err)
			tr.wantBlob("a", end.whole)
			_, err = tr.Blob(ctx, "b", digest.FromString(end.whole))
			tr.want(ErrBlobUnknown, err)
		}
		_, err = tr.Blob(ctx, "a", digest.FromString("second"))
		tr.want(ErrBlobUnknown, err)
	})
}

// TestD9RepositoriesRace opens, finishes, cancels and expires uploads in repositories that come and
// go all the time. Acknowledged blobs are in their repository, and no row is left in the end.
func TestD9RepositoriesRace(t *testing.T) {
	onEachStore(t, Options{UploadExpiry: time.Minute}, func(tr *testRegistry) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for client := range 6 {
			wg.Go(func() {
				for i := range 30 {
					repo, text := fmt.Sprint("r", i%3), fmt.Sprintf("%d of %d", i, client)
					d := digest.FromString(text)
					up, err := tr.CreateUpload(ctx, callerOf(""), repo, "")
					if err == nil && i%4 == 0 {
						err = tr.CancelUpload(ctx, "", repo, up.ID)
					} else if err == nil {
						_, err = tr.Commit(ctx, "", repo, up.ID, d, chunk(text))
						if err == nil {
							_, err = tr.Blob(ctx, repo, d)
						}
						if err == nil {
							err = tr.DeleteBlob(ctx, "", repo, d)
						}
					}
					expired := errors.Is(err, ErrUploadUnknown) || errors.Is(err, ErrRangeInvalid) // the expiry is committed, or about to be
					if err != nil && !expired {
						t.Errorf("client %d, upload %d: %v", client, i, err)
					}
				}
			})
		}
		over := make(chan struct{})
		var jobs sync.WaitGroup
		jobs.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				tr.advance(10 * time.Second)
				if err := errors.Join(tr.expireUploads(ctx), tr.deleteObjects(ctx)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		close(over)
		jobs.Wait()
		tr.advance(2 * time.Hour)
		tr.must(tr.expireUploads(ctx))
		tr.wantOpen(0)
		tr.wantRepositoryRows(false, "r0", "r1", "r2")
	})
}
