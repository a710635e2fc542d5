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
		onEachStore(t, Options{}, func(tr *testRegistry) {
			ctx := t.Context()
			up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
			tr.must(err)
			_, err = tr.Append(ctx, "", "a", up.ID, chunk("hello "))
			tr.must(err)
			tr.faulty.Fail = func(op, key string) (bool, error) {
				if op == "put" {
					return happens, errFault
				}
				return true, nil
			}
			d := digest.FromString("hello world")
			_, err = tr.Append(ctx, "", "a", up.ID, chunk("world"))
			tr.want(errFault, err)
			_, err = tr.Commit(ctx, "", "a", up.ID, d, chunk("world"))
			tr.want(errFault, err)
			_, err = tr.PutBlob(ctx, callerOf(""), "a", d, chunk("hello world"))
			tr.want(errFault, err)
			_, err = tr.Blob(ctx, "a", d)
			tr.want(ErrBlobUnknown, err)

			tr.faulty.Fail = nil
			got, err := tr.Upload(ctx, "", "a", up.ID)
			tr.must(err)
			if got.Size != 6 {
				t.Fatalf("after failures the session has %d bytes, want 6", got.Size)
			}
			_, err = tr.Commit(ctx, "", "a", up.ID, d, chunk("world"))
			tr.must(err)
			tr.wantBlob("a", "hello world")
			tr.wantAfterJobs(2)
		})
	}
}

func TestFullDisk(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		tr.faulty.Fail = func(op, key string) (bool, error) { return op != "put", bucket.ErrNoSpace }
		_, err := tr.PutBlob(t.Context(), callerOf(""), "a", digest.FromString("hello"), chunk("hello"))
		tr.want(ErrNoSpace, err)
		tr.faulty.Fail = nil
		tr.push("a", "hello")
		tr.wantAfterJobs(1)
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
			tr, _ := newFileRegistry(t, Options{})
			fail(tr.faulty)
			ctx := t.Context()
			up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
			tr.must(err)
			d := digest.FromString("hello")
			_, err = tr.Append(ctx, "", "a", up.ID, chunk("hello"))
			tr.want(errFault, err)
			_, err = tr.Commit(ctx, "", "a", up.ID, d, chunk("hello"))
			tr.want(errFault, err)
			_, err = tr.PutBlob(ctx, callerOf(""), "a", d, chunk("hello"))
			tr.want(errFault, err)
			_, err = tr.Blob(ctx, "a", d)
			tr.want(ErrBlobUnknown, err)
			tr.faulty.Fail, tr.faulty.ReplaceReadError = nil, nil
			tr.push("a", "hello")
			tr.wantAfterJobs(1)
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

// TestCommitOfUnknownOutcome checks the error of a push whose commit happened and failed to say so:
// the client learns that it may try again, not that its session is unknown.
func TestCommitOfUnknownOutcome(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		commits := 0
		tr.failCommits(func(step string) error {
			if step == "committed" {
				commits++
			}
			if commits == 2 { // the first makes the session
				return errFault
			}
			return nil
		})
		_, err := tr.PutBlob(t.Context(), callerOf(""), "a", digest.FromString("x"), chunk("x"))
		tr.want(ErrUnavailable, err)
		if errors.Is(err, ErrUploadUnknown) {
			t.Errorf("the session is said to be unknown: %v", err)
		}
		tr.failCommits(nil)
		tr.must(tr.deleteObjects(t.Context()))
		tr.wantBlob("a", "x")
	})
}

// TestCommitFails fails each database commit, without and with its effect. Nothing acknowledged is
// lost, and the client's second try succeeds.
func TestCommitFails(t *testing.T) {
	for _, step := range []string{"commit", "committed"} {
		onEachStore(t, Options{}, func(tr *testRegistry) {
			ctx := t.Context()
			tr.push("a", "config")
			m := tr.image("", "config")
			up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
			tr.must(err)
			d := digest.FromString("hello")
			_, err = tr.Append(ctx, "", "a", up.ID, chunk("hello"))
			tr.must(err)
			tr.must(tr.retireSpares(ctx)) // so that a POST needs a commit
			tr.failCommits(func(s string) error {
				if s == step {
					return errFault
				}
				return nil
			})
			for name, write := range map[string]func() error{
				"upload": func() error { _, err := tr.CreateUpload(ctx, callerOf(""), "a", ""); return err },
				"append": func() error { _, err := tr.Append(ctx, "", "a", up.ID, chunk(" world")); return err },
				"commit": func() error { _, err := tr.Commit(ctx, "", "a", up.ID, d, emptyChunk); return err },
				"blob": func() error {
					_, err := tr.PutBlob(ctx, callerOf(""), "a", digest.FromString("x"), chunk("x"))
					return err
				},
				"manifest": func() error { return tr.PutManifest(ctx, "", "a", m, []string{"t"}, Condition{}) },
			} {
				if err := write(); err == nil {
					t.Errorf("%s was acknowledged although its %s failed", name, step)
				}
			}
			tr.failCommits(nil)
			_, err = tr.Commit(ctx, "", "a", up.ID, d, emptyChunk)
			tr.must(err)
			tr.wantBlob("a", "hello")
			tr.put("a", m, "t")
			tr.push("a", "x")
			tr.finishSessions("", "a", tr.openSessions("", "a", "", 5)) // the sessions of the pool are there
			tr.wantAfterJobs(8)
			tr.wantBlob("a", "hello")
			tr.wantBlob("a", "x")
		})
	}
}

func TestDeleteFails(t *testing.T) {
	for _, happens := range []bool{false, true} {
		onEachStore(t, Options{}, func(tr *testRegistry) {
			ctx := t.Context()
			tr.push("a", "hello")
			tr.push("b", "hello") // leaves a second object to the deletion worker
			tr.faulty.Fail = func(op, key string) (bool, error) {
				if op == "delete" {
					return happens, errFault
				}
				return true, nil
			}
			tr.want(errFault, tr.deleteObjects(ctx))
			tr.must(tr.deleteObjects(ctx)) // not again at once
			tr.faulty.Fail = nil
			tr.wantAfterJobs(1)
			tr.wantBlob("a", "hello")
		})
	}
}

// TestForeignBucketIsNotDeleted checks that the deletion worker deletes nothing in a bucket without
// the registry's marker.
func TestForeignBucketIsNotDeleted(t *testing.T) {
	dir := t.TempDir()
	tr := newTestRegistry(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), Options{})
	tr.push("a", "hello")
	tr.push("b", "hello")
	marker := filepath.Join(dir, "blobs", bucket.Marker)
	tr.must(os.WriteFile(marker, []byte(`{"ID":"other","Incarnation":"other"}`), 0o600))
	if err := tr.deleteObjects(t.Context()); err == nil || !strings.Contains(err.Error(), "belongs to registry other") {
		t.Fatalf("deleting beside a foreign marker: %v", err)
	}
	tr.must(os.Remove(marker))
	if err := tr.deleteObjects(t.Context()); err == nil {
		t.Fatal("deleting without a marker succeeded")
	}
	if n := len(tr.objects()); n != 2 {
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
			tr := newTestRegistry(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), Options{DeleteDelay: time.Minute})
			ctx := t.Context()
			d := tr.push("a", "hello")
			b, err := tr.Blob(ctx, "a", d)
			tr.must(err)
			object := filepath.Join(dir, "blobs", tr.objects()[0])
			// While the bucket as a whole cannot be read, the blob is not recorded as damaged.
			tr.faulty.Fail = func(op, key string) (bool, error) {
				if key == bucket.Marker {
					return false, errFault
				}
				return true, nil
			}
			tr.must(damage(object))
			_, err = b.Open(ctx)
			tr.want(ErrUnavailable, err)
			_, err = tr.Blob(ctx, "a", d)
			tr.must(err)
			tr.faulty.Fail = nil
			_, err = b.Open(ctx)
			tr.want(ErrBlobUnknown, err)
			_, err = tr.Blob(ctx, "a", d)
			tr.want(ErrBlobUnknown, err)
			if !strings.Contains(tr.log.String(), "is damaged") {
				t.Errorf("the damage is not in the log: %s", tr.log)
			}
			tr.push("a", "hello")
			tr.wantBlob("a", "hello")
			tr.wantAfterJobs(1)
			tr.wantBlob("a", "hello")
		})
	}
}

// TestDamagedPart damages one object of a blob of two.
func TestDamagedPart(t *testing.T) {
	dir := t.TempDir()
	tr := newTestRegistry(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), Options{})
	ctx := t.Context()
	for range 4 {
		up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
		tr.must(err)
		_, err = tr.Append(ctx, "", "a", up.ID, chunk("hello "))
		tr.must(err)
		d := digest.FromString("hello world")
		_, err = tr.Commit(ctx, "", "a", up.ID, d, chunk("world"))
		tr.must(err)
		tr.wantBlob("a", "hello world")
		tr.wantAfterJobs(2)
		object := filepath.Join(dir, "blobs", tr.objects()[1])
		tr.must(os.Truncate(object, 1))
		_, err = tr.read("a", d)
		tr.want(ErrBlobUnknown, err)
		_, err = tr.Blob(ctx, "a", d)
		tr.want(ErrBlobUnknown, err)
	}
	tr.push("a", "hello world")
	tr.wantBlob("a", "hello world")
	tr.wantAfterJobs(1)
}

// TestPutBlobOutlivesItsSession checks that a blob is not acknowledged if its session expired
// before its bytes were complete.
func TestPutBlobOutlivesItsSession(t *testing.T) {
	onEachStore(t, Options{UploadExpiry: time.Minute}, func(tr *testRegistry) {
		ctx := t.Context()
		late := readerFunc(func(p []byte) (int, error) {
			tr.advance(10 * time.Minute)
			if err := errors.Join(tr.expireUploads(ctx), tr.deleteObjects(ctx)); err != nil {
				return 0, err
			}
			return copy(p, "hello"), io.EOF
		})
		d := digest.FromString("hello")
		_, err := tr.PutBlob(ctx, callerOf(""), "a", d, Chunk{Body: late, Offset: -1, Length: 5})
		tr.want(ErrUploadUnknown, err)
		_, err = tr.Blob(ctx, "a", d)
		tr.want(ErrBlobUnknown, err)
		tr.wantAfterJobs(0) // the object appeared after its row was deleted, and is deleted too
	})
}

// TestOneObjectCannotBeDeleted checks that an object that cannot be deleted does not stop the
// deletion of the others.
func TestOneObjectCannotBeDeleted(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		for _, repo := range []string{"a", "b", "c", "d"} {
			tr.push(repo, "hello") // leaves three objects to the deletion worker
		}
		rows, err := tr.db.Deletable(tr.t.Context(), tr.nowMicro(), 10)
		tr.must(err)
		stuck := rows[0].Key
		tr.faulty.Fail = func(op, key string) (bool, error) {
			if op == "delete" && key == stuck {
				return false, errFault
			}
			return true, nil
		}
		tr.want(errFault, tr.deleteObjects(ctx))
		if n := len(tr.objects()); n != 2 {
			t.Errorf("%d objects remain, want the blob's and the one that cannot be deleted", n)
		}
		tr.faulty.Fail = nil
		tr.wantAfterJobs(1)
	})
}

// TestUnfinishedObjectsOfADeadProcess opens a registry whose earlier process died during a write.
// The unfinished object is deleted, and the session continues from its recorded part.
func TestUnfinishedObjectsOfADeadProcess(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		tr.push("a", "other")
		up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
		tr.must(err)
		_, err = tr.Append(ctx, "", "a", up.ID, chunk("hello "))
		tr.must(err)
		const key = "content/00/died-1"
		tr.must(tr.db.Tx(ctx, func(tx *meta.Tx) error {
			lease := tr.clock.Add(writerLease).UnixMicro()
			return tx.ReserveObject(key, up.ID, 7, lease, meta.Allowance{Charged: "alice", Bytes: 100})
		}))
		_, err = tr.bucket.Put(ctx, key, strings.NewReader("wor"), io.Discard)
		tr.must(err)

		tr.Registry, err = Open(ctx, tr.db, tr.faulty, tr.opts)
		tr.must(err)
		tr.must(tr.deleteObjects(ctx))
		if keys := tr.objects(); len(keys) != 2 || slices.Contains(keys, key) {
			t.Errorf("the bucket has %q, want those of the blob and of the recorded part", keys)
		}
		if !strings.Contains(tr.log.String(), "unfinished objects") {
			t.Error("nothing in the log")
		}
		tr.must(tr.db.Tx(ctx, func(tx *meta.Tx) error {
			if u, err := tx.Usage("alice", tr.nowMicro()); err != nil || u != (meta.Usage{}) {
				t.Errorf("the dead writer's allowance counts: %+v, %v", u, err)
			}
			return nil
		}))
		_, err = tr.Commit(ctx, "", "a", up.ID, digest.FromString("hello world"), chunk("world"))
		tr.must(err)
		tr.wantBlob("a", "hello world")
		tr.wantBlob("a", "other")
		tr.wantAfterJobs(3)
	})
}

// TestStartOnAFullDisk checks that a registry starts on a full disk, where it has to run to delete
// objects.
func TestStartOnAFullDisk(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		tr.failCommits(func(string) error { return db.ErrNoSpace })
		_, err := Open(t.Context(), tr.db, tr.faulty, tr.opts)
		tr.must(err)
		if !strings.Contains(tr.log.String(), "until their upload sessions expire") {
			t.Error("nothing in the log")
		}
		tr.failCommits(func(string) error { return errFault })
		_, err = Open(t.Context(), tr.db, tr.faulty, tr.opts)
		tr.want(errFault, err)
	})
}
