package storage

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
	"github.com/berth-registry/berth/storage/meta"
)

var errFault = errors.New("injected fault")

// TestPutFails fails each Put, without and with its effect. An unacknowledged push may be repeated,
// and no object is left without an owner.
func TestPutFails(t *testing.T) {
	for _, happens := range []bool{false, true} {
		each(t, Options{}, func(w *world) {
			ctx := t.Context()
			up, err := w.CreateUpload(ctx, by(""), "a", "")
			w.must(err)
			_, err = w.Append(ctx, "", "a", up.ID, chunk("hello "))
			w.must(err)
			w.bytes.Fail = func(op, key string) (bool, error) {
				if op == "put" {
					return happens, errFault
				}
				return true, nil
			}
			d := digest.FromString("hello world")
			_, err = w.Append(ctx, "", "a", up.ID, chunk("world"))
			w.want(errFault, err)
			_, err = w.Commit(ctx, "", "a", up.ID, d, chunk("world"))
			w.want(errFault, err)
			_, err = w.PutBlob(ctx, by(""), "a", d, chunk("hello world"))
			w.want(errFault, err)
			_, err = w.Blob(ctx, "a", d)
			w.want(ErrBlobUnknown, err)

			w.bytes.Fail = nil
			got, err := w.Upload(ctx, "", "a", up.ID)
			w.must(err)
			if got.Size != 6 {
				t.Fatalf("after failures the session has %d bytes, want 6", got.Size)
			}
			_, err = w.Commit(ctx, "", "a", up.ID, d, chunk("world"))
			w.must(err)
			w.wantBlob("a", "hello world")
			w.settle(2)
		})
	}
}

func TestFullDisk(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.bytes.Fail = func(op, key string) (bool, error) { return op != "put", bucket.ErrNoSpace }
		_, err := w.PutBlob(t.Context(), by(""), "a", digest.FromString("hello"), chunk("hello"))
		w.want(ErrNoSpace, err)
		w.bytes.Fail = nil
		w.push("a", "hello")
		w.settle(1)
	})
}

// TestPutStepsFail fails a Put at each of its steps, in each kind of push.
func TestPutStepsFail(t *testing.T) {
	for step, fail := range map[string]func(b *buckettest.Faulty){
		"before the first byte": func(b *buckettest.Faulty) {
			b.Fail = func(op, key string) (bool, error) { return op != "put", putFault(op, key) }
		},
		"in mid-body": func(b *buckettest.Faulty) {
			b.ReplaceReadError = func(string, error) error { return errFault }
		},
		"before it is published": func(b *buckettest.Faulty) {
			b.ReplaceReadError = func(_ string, err error) error {
				if err == io.EOF {
					return errFault
				}
				return err
			}
		},
		"after it is published": func(b *buckettest.Faulty) {
			b.Fail = func(op, key string) (bool, error) { return true, putFault(op, key) }
		},
	} {
		t.Run(step, func(t *testing.T) {
			w, _ := newFileWorld(t, Options{})
			fail(w.bytes)
			ctx := t.Context()
			up, err := w.CreateUpload(ctx, by(""), "a", "")
			w.must(err)
			d := digest.FromString("hello")
			_, err = w.Append(ctx, "", "a", up.ID, chunk("hello"))
			w.want(errFault, err)
			_, err = w.Commit(ctx, "", "a", up.ID, d, chunk("hello"))
			w.want(errFault, err)
			_, err = w.PutBlob(ctx, by(""), "a", d, chunk("hello"))
			w.want(errFault, err)
			_, err = w.Blob(ctx, "a", d)
			w.want(ErrBlobUnknown, err)
			w.bytes.Fail, w.bytes.ReplaceReadError = nil, nil
			w.push("a", "hello")
			w.settle(1)
		})
	}
}

// putFault returns errFault for each Put of an object.
func putFault(op, key string) error {
	if op == "put" && key != bucket.Marker {
		return errFault
	}
	return nil
}

// TestCommitFails fails each database commit, without and with its effect. Nothing acknowledged is
// lost, and the client's second try succeeds.
func TestCommitFails(t *testing.T) {
	for _, step := range []string{"commit", "committed"} {
		each(t, Options{}, func(w *world) {
			ctx := t.Context()
			w.push("a", "config")
			m := w.image("", "config")
			up, err := w.CreateUpload(ctx, by(""), "a", "")
			w.must(err)
			d := digest.FromString("hello")
			_, err = w.Append(ctx, "", "a", up.ID, chunk("hello"))
			w.must(err)
			w.must(w.retireSpares(ctx)) // so that a POST needs a commit
			w.failCommits(func(s string) error {
				if s == step {
					return errFault
				}
				return nil
			})
			for name, write := range map[string]func() error{
				"upload":   func() error { _, err := w.CreateUpload(ctx, by(""), "a", ""); return err },
				"append":   func() error { _, err := w.Append(ctx, "", "a", up.ID, chunk(" world")); return err },
				"commit":   func() error { _, err := w.Commit(ctx, "", "a", up.ID, d, none); return err },
				"blob":     func() error { _, err := w.PutBlob(ctx, by(""), "a", digest.FromString("x"), chunk("x")); return err },
				"manifest": func() error { return w.PutManifest(ctx, "", "a", m, []string{"t"}, Condition{}) },
			} {
				if err := write(); err == nil {
					t.Errorf("%s was acknowledged although its %s failed", name, step)
				}
			}
			w.failCommits(nil)
			_, err = w.Commit(ctx, "", "a", up.ID, d, none)
			w.must(err)
			w.wantBlob("a", "hello")
			w.put("a", m, "t")
			w.push("a", "x")
			w.close("", "a", w.open("", "a", "", 5)) // the sessions of the pool are there
			w.settle(8)
			w.wantBlob("a", "hello")
			w.wantBlob("a", "x")
		})
	}
}

func TestDeleteFails(t *testing.T) {
	for _, happens := range []bool{false, true} {
		each(t, Options{}, func(w *world) {
			ctx := t.Context()
			w.push("a", "hello")
			w.push("b", "hello") // leaves a second object to the deletion worker
			w.bytes.Fail = func(op, key string) (bool, error) {
				if op == "delete" {
					return happens, errFault
				}
				return true, nil
			}
			w.want(errFault, w.deleteObjects(ctx))
			w.must(w.deleteObjects(ctx)) // not again at once
			w.bytes.Fail = nil
			w.settle(1)
			w.wantBlob("a", "hello")
		})
	}
}

// TestForeignBucketIsNotDeleted checks that the deletion worker deletes nothing in a bucket without
// the registry's marker.
func TestForeignBucketIsNotDeleted(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), Options{})
	w.push("a", "hello")
	w.push("b", "hello")
	marker := filepath.Join(dir, "blobs", bucket.Marker)
	w.must(os.WriteFile(marker, []byte(`{"ID":"other","Incarnation":"other"}`), 0o600))
	if err := w.deleteObjects(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to registry other") {
		t.Fatalf("deleting beside a foreign marker: %v", err)
	}
	w.must(os.Remove(marker))
	if err := w.deleteObjects(t.Context()); err == nil {
		t.Fatal("deleting without a marker succeeded")
	}
	if n := len(w.objects()); n != 2 {
		t.Fatalf("%d objects remain, want 2", n)
	}
}

// TestDamagedBlob checks that a blob whose object is gone or cut short is unknown once that is
// noticed, and that a push heals it.
func TestDamagedBlob(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"gone":      os.Remove,
		"cut short": func(path string) error { return os.Truncate(path, 3) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := newWorld(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), Options{DeleteDelay: time.Minute})
			ctx := t.Context()
			d := w.push("a", "hello")
			b, err := w.Blob(ctx, "a", d)
			w.must(err)
			object := filepath.Join(dir, "blobs", w.objects()[0])
			// While the bucket as a whole cannot be read, the blob is not recorded as damaged.
			w.bytes.Fail = func(op, key string) (bool, error) {
				if key == bucket.Marker {
					return false, errFault
				}
				return true, nil
			}
			w.must(damage(object))
			_, err = b.Open(ctx)
			w.want(ErrUnavailable, err)
			_, err = w.Blob(ctx, "a", d)
			w.must(err)
			w.bytes.Fail = nil
			_, err = b.Open(ctx)
			w.want(ErrBlobUnknown, err)
			_, err = w.Blob(ctx, "a", d)
			w.want(ErrBlobUnknown, err)
			if !strings.Contains(w.log.String(), "is damaged") {
				t.Errorf("the damage is not in the log: %s", w.log)
			}
			w.push("a", "hello")
			w.wantBlob("a", "hello")
			w.settle(1)
			w.wantBlob("a", "hello")
		})
	}
}

// TestDamagedPart damages one object of a blob of two.
func TestDamagedPart(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), Options{})
	ctx := t.Context()
	for range 4 {
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		_, err = w.Append(ctx, "", "a", up.ID, chunk("hello "))
		w.must(err)
		d := digest.FromString("hello world")
		_, err = w.Commit(ctx, "", "a", up.ID, d, chunk("world"))
		w.must(err)
		w.wantBlob("a", "hello world")
		w.settle(2)
		object := filepath.Join(dir, "blobs", w.objects()[1])
		w.must(os.Truncate(object, 1))
		_, err = w.read("a", d)
		w.want(ErrBlobUnknown, err)
		_, err = w.Blob(ctx, "a", d)
		w.want(ErrBlobUnknown, err)
	}
	w.push("a", "hello world")
	w.wantBlob("a", "hello world")
	w.settle(1)
}

// TestPutBlobOutlivesItsSession checks that a blob is not acknowledged if its session expired
// before its bytes were complete.
func TestPutBlobOutlivesItsSession(t *testing.T) {
	each(t, Options{UploadExpiry: time.Minute}, func(w *world) {
		ctx := t.Context()
		late := readerFunc(func(p []byte) (int, error) {
			w.advance(10 * time.Minute)
			if err := errors.Join(w.expireUploads(ctx), w.deleteObjects(ctx)); err != nil {
				return 0, err
			}
			return copy(p, "hello"), io.EOF
		})
		d := digest.FromString("hello")
		_, err := w.PutBlob(ctx, by(""), "a", d, Chunk{Body: late, Offset: -1, Length: 5})
		w.want(ErrUploadUnknown, err)
		_, err = w.Blob(ctx, "a", d)
		w.want(ErrBlobUnknown, err)
		w.settle(0) // the object appeared after its row was deleted, and is deleted too
	})
}

// TestOneObjectCannotBeDeleted checks that an object that cannot be deleted does not stop the
// deletion of the others.
func TestOneObjectCannotBeDeleted(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		for _, repo := range []string{"a", "b", "c", "d"} {
			w.push(repo, "hello") // leaves three objects to the deletion worker
		}
		rows, err := w.db.Deletable(w.t.Context(), w.now(), 10)
		w.must(err)
		stuck := rows[0].Key
		w.bytes.Fail = func(op, key string) (bool, error) {
			if op == "delete" && key == stuck {
				return false, errFault
			}
			return true, nil
		}
		w.want(errFault, w.deleteObjects(ctx))
		if n := len(w.objects()); n != 2 {
			t.Errorf("%d objects remain, want the blob's and the one that cannot be deleted", n)
		}
		w.bytes.Fail = nil
		w.settle(1)
	})
}

// TestUnfinishedObjectsOfADeadProcess opens a registry whose earlier process died during a write.
// The unfinished object is deleted, and the session continues from its recorded part.
func TestUnfinishedObjectsOfADeadProcess(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		w.push("a", "other")
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		_, err = w.Append(ctx, "", "a", up.ID, chunk("hello "))
		w.must(err)
		const key = "content/00/died-1"
		w.must(w.db.Tx(ctx, func(tx *meta.Tx) error {
			lease := w.clock.Add(writerLease).UnixMicro()
			return tx.ReserveObject(key, up.ID, 7, lease, meta.Allowance{Charged: "alice", Bytes: 100})
		}))
		_, err = w.bucket.Put(ctx, key, strings.NewReader("wor"), io.Discard)
		w.must(err)

		w.Registry, err = Open(ctx, w.db, w.bytes, w.opts)
		w.must(err)
		w.must(w.deleteObjects(ctx))
		if keys := w.objects(); len(keys) != 2 || slices.Contains(keys, key) {
			t.Errorf("the bucket has %q, want those of the blob and of the recorded part", keys)
		}
		if !strings.Contains(w.log.String(), "unfinished objects") {
			t.Error("nothing in the log")
		}
		w.must(w.db.Tx(ctx, func(tx *meta.Tx) error {
			if u, err := tx.Usage("alice", w.now()); err != nil || u != (meta.Usage{}) {
				t.Errorf("the dead writer's allowance counts: %+v, %v", u, err)
			}
			return nil
		}))
		_, err = w.Commit(ctx, "", "a", up.ID, digest.FromString("hello world"), chunk("world"))
		w.must(err)
		w.wantBlob("a", "hello world")
		w.wantBlob("a", "other")
		w.settle(3)
	})
}

// TestStartOnAFullDisk checks that a registry starts on a full disk, where it has to run to delete
// objects.
func TestStartOnAFullDisk(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.failCommits(func(string) error { return db.ErrNoSpace })
		_, err := Open(t.Context(), w.db, w.bytes, w.opts)
		w.must(err)
		if !strings.Contains(w.log.String(), "until their upload sessions expire") {
			t.Error("nothing in the log")
		}
		w.failCommits(func(string) error { return errFault })
		_, err = Open(t.Context(), w.db, w.bytes, w.opts)
		w.want(errFault, err)
	})
}
