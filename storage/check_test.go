package storage

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/meta"
)

// newFileWorld returns a world on files, and the directory of its bucket.
func newFileWorld(t *testing.T, o Options) (w *world, objects string) {
	t.Helper()
	dir := t.TempDir()
	return newWorld(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), o), filepath.Join(dir, "blobs")
}

// corrupt changes a byte of a file.
func corrupt(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text[len(text)-1]++
	return os.WriteFile(path, text, 0o600)
}

// TestI1RottenBlobIsHealed checks that a push heals a blob whose stored bytes have changed, for
// each way of pushing and each object.
func TestI1RottenBlobIsHealed(t *testing.T) {
	const text = "hello world"
	d256, d512 := digest.FromString(text), digest.SHA512.FromString(text)
	whole := func(d digest.Digest) func(w *world) error {
		return func(w *world) error {
			_, err := w.PutBlob(w.t.Context(), by(""), "b", d, chunk(text))
			return err
		}
	}
	chunks := func(d digest.Digest) func(w *world) error {
		return func(w *world) error {
			_, err := w.Commit(w.t.Context(), "", "b", w.session("b", "hel", "lo "), d, chunk("world"))
			return err
		}
	}
	for name, test := range map[string]struct {
		d           digest.Digest
		first, heal func(w *world) error
		object      int // index, by key, of the object to corrupt
		remain      int // objects in the end
	}{
		"one object":            {d256, whole(d256), whole(d256), 0, 1},
		"one object, by chunks": {d256, whole(d256), chunks(d256), 0, 3},
		"the first of three":    {d256, chunks(d256), whole(d256), 0, 1},
		"the last of three":     {d256, chunks(d256), chunks(d256), 2, 3},
		"sha512":                {d512, whole(d512), chunks(d512), 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newFileWorld(t, Options{DeleteDelay: time.Minute})
			w.must(test.first(w))
			w.must(w.deleteObjects(t.Context()))
			w.must(corrupt(filepath.Join(dir, w.objects()[test.object])))
			w.advance(25 * time.Hour)
			w.must(test.heal(w))
			got, err := w.read("b", test.d)
			w.must(err)
			if got != text {
				t.Errorf("after a push of the right bytes the blob is %q", got)
			}
			if !strings.Contains(w.log.String(), "is damaged") || !strings.Contains(w.log.String(), test.d.String()) {
				t.Errorf("the damage is not in the log: %s", w.log)
			}
			w.settle(test.remain)
			got, err = w.read("b", test.d)
			w.must(err)
			if got != text {
				t.Errorf("in the end the blob is %q", got)
			}
		})
	}
}

// TestI1UnreadableBlobIsHealed checks that a blob counts as damaged if it cannot be read. If the
// bucket as a whole cannot be read, the push is not acknowledged.
func TestI1UnreadableBlobIsHealed(t *testing.T) {
	for name, test := range map[string]struct {
		damage func(w *world, path string) error
		want   error
	}{
		"gone":      {func(w *world, path string) error { return os.Remove(path) }, nil},
		"cut short": {func(w *world, path string) error { return os.Truncate(path, 3) }, nil},
		"an error": {func(w *world, path string) error {
			w.bytes.Fail = func(op, key string) (bool, error) {
				if strings.HasSuffix(path, key) {
					return true, errFault
				}
				return true, nil
			}
			return nil
		}, nil},
		"the bucket": {func(w *world, path string) error {
			w.bytes.Fail = func(op, key string) (bool, error) {
				if op == "get" {
					return true, errFault
				}
				return true, nil
			}
			return nil
		}, ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			w, dir := newFileWorld(t, Options{})
			w.push("a", "hello")
			w.advance(25 * time.Hour)
			w.must(test.damage(w, filepath.Join(dir, w.objects()[0])))
			_, err := w.PutBlob(t.Context(), by(""), "b", digest.FromString("hello"), chunk("hello"))
			if test.want == nil {
				w.must(err)
				w.wantBlob("b", "hello")
			} else {
				w.want(test.want, err)
				_, err = w.Commit(t.Context(), "", "b", w.session("b", "hel"), digest.FromString("hello"), chunk("lo"))
				w.want(test.want, err)
			}
			open, err := w.db.CountOpenUploads(w.t.Context())
			w.must(err)
			if test.want != nil && open != 1 {
				t.Errorf("%d sessions are open, want that of the chunks alone", open)
			}
			w.bytes.Fail = nil
			w.wantBlob("a", "hello")
			w.settle(1)
			w.wantBlob("a", "hello")
		})
	}
}

// TestI1ComparedOnceADay checks that stored bytes are read at most once a day, and not on the day
// on which they were written.
func TestI1ComparedOnceADay(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "hello")
		reads := w.countReads()
		push := func(after time.Duration, want int64) {
			t.Helper()
			w.advance(after)
			reads.read.Store(0)
			w.push("b", "hello")
			if n := reads.read.Load(); n != want {
				t.Errorf("a push after %v read %d bytes, want %d", after, n, want)
			}
		}
		push(0, 0)
		push(23*time.Hour, 0)
		push(2*time.Hour, 5)
		push(0, 0)
		push(23*time.Hour, 0)
		push(2*time.Hour, 5)
		w.settle(1)
	})
}

// TestI1OneAtATime checks that only one of two pushes at once compares stored bytes. The other is
// answered at once, and the next push of its blob compares.
func TestI1OneAtATime(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "hello")
		w.push("a", "world")
		w.advance(25 * time.Hour)
		g := w.blockReads()
		done := make(chan error, 1)
		go func() {
			_, err := w.PutBlob(t.Context(), by(""), "b", digest.FromString("hello"), chunk("hello"))
			done <- err
		}()
		<-g.entered
		w.push("b", "world")
		close(g.open)
		w.must(<-done)
		w.bytes.Fail = nil
		reads := w.countReads()
		w.push("b", "hello")
		if n := reads.read.Load(); n != 0 {
			t.Errorf("the compared blob is read again: %d bytes", n)
		}
		w.push("b", "world")
		if n := reads.read.Load(); n != 5 {
			t.Errorf("%d bytes of the other blob were read, want 5", n)
		}
	})
}

// TestI1HealedMeanwhile checks that a blob is not recorded as damaged if it is healed during the
// comparison.
func TestI1HealedMeanwhile(t *testing.T) {
	w, dir := newFileWorld(t, Options{})
	w.push("a", "hello")
	old := w.objects()[0]
	w.must(corrupt(filepath.Join(dir, old)))
	w.advance(25 * time.Hour)
	healed := false
	w.bytes.Fail = func(op, key string) (bool, error) {
		if op == "get" && key == old && !healed {
			healed = true
			b, err := w.Blob(t.Context(), "a", digest.FromString("hello"))
			w.must(err)
			w.must(w.db.Tx(t.Context(), func(tx *meta.Tx) error {
				_, err := tx.RecordBlobDamaged(b.id, old, w.now())
				return err
			}))
			w.push("b", "hello")
		}
		return true, nil
	}
	w.push("c", "hello")
	for _, repo := range []string{"a", "b", "c"} {
		w.wantBlob(repo, "hello")
	}
	if !healed || strings.Contains(w.log.String(), "is damaged") {
		t.Errorf("healed meanwhile: %v; logged: %s", healed, w.log)
	}
	w.settle(1)
}

// TestI1ClientLeaves checks that the comparison ends when the client disconnects, and that the push
// still counts.
func TestI1ClientLeaves(t *testing.T) {
	each(t, Options{}, func(w *world) {
		w.push("a", "hello")
		w.advance(25 * time.Hour)
		g := w.blockReads()
		reads := w.countReads()
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		done := make(chan error, 1)
		go func() {
			_, err := w.PutBlob(ctx, by(""), "b", digest.FromString("hello"), chunk("hello"))
			done <- err
		}()
		<-g.entered
		leave()
		close(g.open)
		w.must(<-done)
		w.bytes.Fail = nil
		if n := reads.read.Load(); n != 0 {
			t.Errorf("%d bytes were read after the client had disconnected", n)
		}
		w.wantBlob("b", "hello")
		w.push("b", "hello")
		if n := reads.read.Load(); n != 10 {
			t.Errorf("%d bytes were read, want those of the blob and of its comparison", n)
		}
	})
}

// TestI1ComparisonsAreBounded checks that comparisons read checkRate bytes a minute, and that a
// larger blob is compared when the whole allowance is there.
func TestI1ComparisonsAreBounded(t *testing.T) {
	var c checkLimiter
	now := time.Unix(1700000000, 0)
	const half, huge = checkRate / 2, 10 * checkRate
	for i, step := range []struct {
		after time.Duration
		size  int64
		begin bool
	}{
		{0, half, true}, {0, half, true}, {0, 1, false}, {30 * time.Second, half + 1, false}, {0, half, true},
		{59 * time.Second, huge, false}, {time.Second, huge, true}, // the whole minute is available; nine minutes are owed after it
		{9*time.Minute - time.Second, 1, false}, {32 * time.Second, half, true},
		{-time.Hour, half, false}, {30 * time.Second, half, true}, // the clock was set back
		{24 * time.Hour, checkRate, true}, {0, 1, false}, // no more than a minute's bytes accumulate
	} {
		now = now.Add(step.after)
		if c.ready(step.size, now) != step.begin || c.begin(step.size, now) != step.begin {
			t.Errorf("step %d: %d bytes after %v: want %v", i, step.size, step.after, step.begin)
		}
		if step.begin {
			if c.ready(0, now) {
				t.Errorf("step %d: two at once", i)
			}
			c.end()
		}
	}
}
