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

// newFileRegistry returns a registry on files, and the directory of its bucket.
func newFileRegistry(t *testing.T, o Options) (tr *testRegistry, objects string) {
	t.Helper()
	dir := t.TempDir()
	return newTestRegistry(t, "file://"+filepath.Join(dir, "blobs"), "sqlite:"+filepath.Join(dir, "berth.db"), o), filepath.Join(dir, "blobs")
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
	whole := func(d digest.Digest) func(tr *testRegistry) error {
		return func(tr *testRegistry) error {
			_, err := tr.PutBlob(tr.t.Context(), callerOf(""), "b", d, chunk(text))
			return err
		}
	}
	chunks := func(d digest.Digest) func(tr *testRegistry) error {
		return func(tr *testRegistry) error {
			_, err := tr.Commit(tr.t.Context(), "", "b", tr.session("b", "hel", "lo "), d, chunk("world"))
			return err
		}
	}
	for name, test := range map[string]struct {
		d           digest.Digest
		first, heal func(tr *testRegistry) error
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
			tr, dir := newFileRegistry(t, Options{DeleteDelay: time.Minute})
			tr.must(test.first(tr))
			tr.must(tr.deleteObjects(t.Context()))
			tr.must(corrupt(filepath.Join(dir, tr.objects()[test.object])))
			tr.advance(25 * time.Hour)
			tr.must(test.heal(tr))
			got, err := tr.read("b", test.d)
			tr.must(err)
			if got != text {
				t.Errorf("after a push of the right bytes the blob is %q", got)
			}
			if !strings.Contains(tr.log.String(), "is damaged") || !strings.Contains(tr.log.String(), test.d.String()) {
				t.Errorf("the damage is not in the log: %s", tr.log)
			}
			tr.wantAfterJobs(test.remain)
			got, err = tr.read("b", test.d)
			tr.must(err)
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
		damage func(tr *testRegistry, path string) error
		want   error
	}{
		"gone":      {func(tr *testRegistry, path string) error { return os.Remove(path) }, nil},
		"cut short": {func(tr *testRegistry, path string) error { return os.Truncate(path, 3) }, nil},
		"an error": {func(tr *testRegistry, path string) error {
			tr.faulty.Fail = func(op, key string) (bool, error) {
				if strings.HasSuffix(path, key) {
					return true, errFault
				}
				return true, nil
			}
			return nil
		}, nil},
		"the bucket": {func(tr *testRegistry, path string) error {
			tr.faulty.Fail = func(op, key string) (bool, error) {
				if op == "get" {
					return true, errFault
				}
				return true, nil
			}
			return nil
		}, ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			tr, dir := newFileRegistry(t, Options{})
			tr.push("a", "hello")
			tr.advance(25 * time.Hour)
			tr.must(test.damage(tr, filepath.Join(dir, tr.objects()[0])))
			_, err := tr.PutBlob(t.Context(), callerOf(""), "b", digest.FromString("hello"), chunk("hello"))
			if test.want == nil {
				tr.must(err)
				tr.wantBlob("b", "hello")
			} else {
				tr.want(test.want, err)
				_, err = tr.Commit(t.Context(), "", "b", tr.session("b", "hel"), digest.FromString("hello"), chunk("lo"))
				tr.want(test.want, err)
			}
			open, err := tr.db.CountOpenUploads(tr.t.Context())
			tr.must(err)
			if test.want != nil && open != 1 {
				t.Errorf("%d sessions are open, want that of the chunks alone", open)
			}
			tr.faulty.Fail = nil
			tr.wantBlob("a", "hello")
			tr.wantAfterJobs(1)
			tr.wantBlob("a", "hello")
		})
	}
}

// TestI1ComparedOnceADay checks that stored bytes are read at most once a day, and not on the day
// on which they were written.
func TestI1ComparedOnceADay(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		tr.push("a", "hello")
		reads := tr.countReads()
		push := func(after time.Duration, want int64) {
			t.Helper()
			tr.advance(after)
			reads.read.Store(0)
			tr.push("b", "hello")
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
		tr.wantAfterJobs(1)
	})
}

// TestI1OneAtATime checks that only one of two pushes at once compares stored bytes. The other is
// answered at once, and the next push of its blob compares.
func TestI1OneAtATime(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		tr.push("a", "hello")
		tr.push("a", "world")
		tr.advance(25 * time.Hour)
		g := tr.blockReads()
		done := make(chan error, 1)
		go func() {
			_, err := tr.PutBlob(t.Context(), callerOf(""), "b", digest.FromString("hello"), chunk("hello"))
			done <- err
		}()
		<-g.entered
		tr.push("b", "world")
		close(g.open)
		tr.must(<-done)
		tr.faulty.Fail = nil
		reads := tr.countReads()
		tr.push("b", "hello")
		if n := reads.read.Load(); n != 0 {
			t.Errorf("the compared blob is read again: %d bytes", n)
		}
		tr.push("b", "world")
		if n := reads.read.Load(); n != 5 {
			t.Errorf("%d bytes of the other blob were read, want 5", n)
		}
	})
}

// TestI1HealedMeanwhile checks that a blob is not recorded as damaged if it is healed during the
// comparison.
func TestI1HealedMeanwhile(t *testing.T) {
	tr, dir := newFileRegistry(t, Options{})
	tr.push("a", "hello")
	old := tr.objects()[0]
	tr.must(corrupt(filepath.Join(dir, old)))
	tr.advance(25 * time.Hour)
	healed := false
	tr.faulty.Fail = func(op, key string) (bool, error) {
		if op == "get" && key == old && !healed {
			healed = true
			b, err := tr.Blob(t.Context(), "a", digest.FromString("hello"))
			tr.must(err)
			tr.must(tr.db.Tx(t.Context(), func(tx *meta.Tx) error {
				_, err := tx.RecordBlobDamaged(b.id, old, tr.nowMicro())
				return err
			}))
			tr.push("b", "hello")
		}
		return true, nil
	}
	tr.push("c", "hello")
	for _, repo := range []string{"a", "b", "c"} {
		tr.wantBlob(repo, "hello")
	}
	if !healed || strings.Contains(tr.log.String(), "is damaged") {
		t.Errorf("healed meanwhile: %v; logged: %s", healed, tr.log)
	}
	tr.wantAfterJobs(1)
}

// TestI1ClientLeaves checks that the comparison ends when the client disconnects, and that the push
// still counts.
func TestI1ClientLeaves(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		tr.push("a", "hello")
		tr.advance(25 * time.Hour)
		g := tr.blockReads()
		reads := tr.countReads()
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		done := make(chan error, 1)
		go func() {
			_, err := tr.PutBlob(ctx, callerOf(""), "b", digest.FromString("hello"), chunk("hello"))
			done <- err
		}()
		<-g.entered
		leave()
		close(g.open)
		tr.must(<-done)
		tr.faulty.Fail = nil
		if n := reads.read.Load(); n != 0 {
			t.Errorf("%d bytes were read after the client had disconnected", n)
		}
		tr.wantBlob("b", "hello")
		tr.push("b", "hello")
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
