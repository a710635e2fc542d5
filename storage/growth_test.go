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

// wantRows checks that each of the repositories has a row, or that none of them has.
func (w *world) wantRows(want bool, repos ...string) {
	w.t.Helper()
	for _, repo := range repos {
		err := w.db.Tx(w.t.Context(), func(tx *meta.Tx) error {
			_, err := tx.Repo(repo)
			return err
		})
		if has := err == nil; has != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.t.Errorf("%s has a row: %v (%v), want %v", repo, has, err, want)
		}
	}
}

// TestD9RepositoriesWithoutContent checks that a repository that gets no content has no row,
// however its uploads end.
func TestD9RepositoriesWithoutContent(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		open := func(repo string) string {
			t.Helper()
			up, err := w.CreateUpload(ctx, by(""), repo, "")
			w.must(err)
			return up.ID
		}
		w.must(w.CancelUpload(ctx, "", "cancelled", open("cancelled")))
		_, err := w.Append(ctx, "", "expired", open("expired"), chunk("hello"))
		w.must(err)
		_, err = w.Commit(ctx, "", "mismatch", open("mismatch"), digest.FromString("other"), chunk("hello"))
		if err == nil {
			t.Error("a wrong digest was taken")
		}
		_, err = w.PutBlob(ctx, by(""), "whole", digest.FromString("other"), chunk("hello"))
		if err == nil {
			t.Error("a wrong digest was taken")
		}
		_, err = w.Mount(ctx, "", "mounted", digest.FromString("hello"), "nowhere")
		w.want(ErrBlobUnknown, err)
		w.want(ErrManifestBlobUnknown, w.PutManifest(ctx, "", "pushed", w.image("", "a", "b"), []string{"v1"}, Condition{}))

		w.push("content", "hello")
		w.push("deleted", "hello")
		w.must(w.DeleteBlob(ctx, "", "deleted", digest.FromString("hello")))
		w.push("some", "hello")
		w.push("some", "world")
		w.must(w.DeleteBlob(ctx, "", "some", digest.FromString("hello")))
		w.push("listed", "a")
		w.push("listed", "b")
		m := w.image("", "a", "b")
		w.put("listed", m, "v1")
		w.must(w.DeleteManifest(ctx, "", "listed", m.Digest))
		w.must(w.DeleteBlob(ctx, "", "listed", digest.FromString("a")))
		w.must(w.DeleteBlob(ctx, "", "listed", digest.FromString("b")))

		w.settle(4)
		w.wantOpen(0)
		w.wantRows(false, "cancelled", "expired", "mismatch", "whole", "mounted", "pushed", "deleted")
		w.wantRows(true, "content", "some", "listed")
		repos, err := w.Repositories(ctx, "", "", 10)
		w.must(err)
		if fmt.Sprint(repos) != "[listed]" {
			t.Errorf("listed are %v", repos)
		}
	})
}

// TestD9RepositoryComesAgain checks that an upload ends in the repository in which it began, also
// if that repository was deleted meanwhile and another one has the id of its row.
func TestD9RepositoryComesAgain(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		w.push("a", "first")
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		_, err = w.Append(ctx, "", "a", up.ID, chunk("hello "))
		w.must(err)
		unused, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		w.must(w.DeleteBlob(ctx, "", "a", digest.FromString("first")))
		w.wantRows(false, "a")
		w.push("b", "second") // its row has the id that the row of a had
		for _, end := range []struct{ id, last, whole string }{{up.ID, "world", "hello world"}, {unused.ID, "unused", "unused"}} {
			_, err = w.Commit(ctx, "", "a", end.id, digest.FromString(end.whole), chunk(end.last))
			w.must(err)
			w.wantBlob("a", end.whole)
			_, err = w.Blob(ctx, "b", digest.FromString(end.whole))
			w.want(ErrBlobUnknown, err)
		}
		_, err = w.Blob(ctx, "a", digest.FromString("second"))
		w.want(ErrBlobUnknown, err)
	})
}

// TestD9RepositoriesRace opens, finishes, cancels and expires uploads in repositories that come and
// go all the time. Acknowledged blobs are in their repository, and no row is left in the end.
func TestD9RepositoriesRace(t *testing.T) {
	each(t, Options{UploadExpiry: time.Minute}, func(w *world) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for client := range 6 {
			wg.Go(func() {
				for i := range 30 {
					repo, text := fmt.Sprint("r", i%3), fmt.Sprintf("%d of %d", i, client)
					d := digest.FromString(text)
					up, err := w.CreateUpload(ctx, by(""), repo, "")
					if err == nil && i%4 == 0 {
						err = w.CancelUpload(ctx, "", repo, up.ID)
					} else if err == nil {
						_, err = w.Commit(ctx, "", repo, up.ID, d, chunk(text))
						if err == nil {
							_, err = w.Blob(ctx, repo, d)
						}
						if err == nil {
							err = w.DeleteBlob(ctx, "", repo, d)
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
				w.advance(10 * time.Second)
				if err := errors.Join(w.expireUploads(ctx), w.deleteObjects(ctx)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		close(over)
		jobs.Wait()
		w.advance(2 * time.Hour)
		w.must(w.expireUploads(ctx))
		w.wantOpen(0)
		w.wantRows(false, "r0", "r1", "r2")
	})
}
