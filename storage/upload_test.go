package storage

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage/meta"
)

// broken gives its text and then fails as a connection does.
type broken struct{ text io.Reader }

var errConnection = errors.New("connection reset")

func (b broken) Read(p []byte) (int, error) {
	n, err := b.text.Read(p)
	if err == io.EOF {
		err = errConnection
	}
	return n, err
}

var none = Chunk{Offset: -1, Length: -1}

func TestUpload(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		up, err := w.CreateUpload(ctx, by("alice"), "team/app", "")
		w.must(err)
		if up.Size != 0 || up.Algorithm != digest.SHA256 {
			t.Fatalf("a new session is %+v", up)
		}
		up, err = w.Append(ctx, "alice", "team/app", up.ID, Chunk{Body: strings.NewReader("hello "), Offset: 0, Length: 6})
		w.must(err)
		if up.Size != 6 {
			t.Fatalf("after 6 bytes the session has %d", up.Size)
		}
		// Out of order, and over.
		up, err = w.Append(ctx, "alice", "team/app", up.ID, Chunk{Body: strings.NewReader("x"), Offset: 5, Length: 1})
		w.want(ErrRangeInvalid, err)
		if up.Size != 6 {
			t.Fatalf("after a chunk out of order the session is said to have %d bytes", up.Size)
		}
		_, err = w.Commit(ctx, "alice", "team/app", up.ID, digest.FromString("hello world"), Chunk{Body: strings.NewReader("x"), Offset: 7, Length: 1})
		w.want(ErrRangeInvalid, err)
		foreign, err := w.Append(ctx, "alice", "other", up.ID, chunk("x"))
		w.want(ErrUploadUnknown, err)
		if foreign != (Upload{}) {
			t.Errorf("another repository's session is told of: %+v", foreign)
		}
		_, err = w.Upload(ctx, "alice", "team/app", "unknown")
		w.want(ErrUploadUnknown, err)

		d := digest.FromString("hello world")
		for range 2 { // a repeated PUT succeeds, whatever its body
			b, err := w.Commit(ctx, "alice", "team/app", up.ID, d, Chunk{Body: strings.NewReader("world"), Offset: -1, Length: 5})
			w.must(err)
			if b.Size != 11 || b.Digest != d {
				t.Fatalf("committed %+v", b)
			}
		}
		_, err = w.Commit(ctx, "alice", "team/app", up.ID, digest.FromString("other"), none)
		w.want(ErrUploadUnknown, err)
		_, err = w.Upload(ctx, "alice", "team/app", up.ID)
		w.want(ErrUploadUnknown, err)
		w.want(ErrUploadUnknown, w.CancelUpload(ctx, "alice", "team/app", up.ID))
		w.wantBlob("team/app", "hello world")
		w.settle(2)
		_, err = w.Commit(ctx, "alice", "team/app", up.ID, d, none)
		w.want(ErrUploadUnknown, err) // forgotten by now
	})
}

// A session is its opener's alone, as long as it is remembered. To others it is one that never was.
func TestUploadOfAnother(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		d := digest.FromString("hello world")
		up, err := w.CreateUpload(ctx, by("user:alice#1"), "a", "")
		w.must(err)
		refused := func(caller string) {
			t.Helper()
			for _, c := range []Chunk{none, chunk("hello world")} {
				seen, err := w.Append(ctx, caller, "a", up.ID, c)
				w.want(ErrUploadUnknown, err)
				if seen != (Upload{}) {
					t.Errorf("%q is told of a session of another: %+v", caller, seen)
				}
				_, err = w.Commit(ctx, caller, "a", up.ID, d, c)
				w.want(ErrUploadUnknown, err)
			}
			_, err := w.Upload(ctx, caller, "a", up.ID)
			w.want(ErrUploadUnknown, err)
			w.want(ErrUploadUnknown, w.CancelUpload(ctx, caller, "a", up.ID))
			_, never := w.Upload(ctx, caller, "a", strings.Repeat("x", len(up.ID)))
			if want := strings.ReplaceAll(never.Error(), strings.Repeat("x", len(up.ID)), up.ID); err.Error() != want {
				t.Errorf("a session of another is %q, one that never was %q", err, want)
			}
		}
		others := []string{"user:bob#2", "user:alice#3", ""}
		for _, caller := range others { // the key of the first bytes is reserved
			refused(caller)
		}
		_, err = w.Append(ctx, "user:alice#1", "a", up.ID, chunk("hello "))
		w.must(err)
		for _, caller := range others { // it is not
			refused(caller)
		}
		_, err = w.Commit(ctx, "user:alice#1", "a", up.ID, d, chunk("world"))
		w.must(err)
		for _, caller := range others { // it is finished
			refused(caller)
		}
		_, err = w.Commit(ctx, "user:alice#1", "a", up.ID, d, none)
		w.must(err)
		w.wantBlob("a", "hello world")
		w.settle(2)
	})
}

func TestDigestMismatchEndsSession(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		_, err = w.Append(ctx, "", "a", up.ID, chunk("hello"))
		w.must(err)
		_, err = w.Commit(ctx, "", "a", up.ID, digest.FromString("other"), chunk(" world"))
		w.want(manifest.ErrDigestInvalid, err)
		_, err = w.Upload(ctx, "", "a", up.ID)
		w.want(ErrUploadUnknown, err)
		_, err = w.PutBlob(ctx, by(""), "a", digest.FromString("other"), chunk("hello"))
		w.want(manifest.ErrDigestInvalid, err)
		// A blob that another repository has is no short cut.
		d := w.push("b", "hello")
		_, err = w.PutBlob(ctx, by(""), "a", d, none)
		w.want(manifest.ErrDigestInvalid, err)
		w.settle(1)
	})
}

// Of two PUTs on one session the one with the wrong digest loses, and its bytes do not wait for the
// session to be forgotten.
func TestMismatchAfterCommit(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		d := digest.FromString("hello")
		first, _ := w.reserved.take(up.ID) // for the one that wins, which then sees no other part
		between := readerFunc(func(p []byte) (int, error) {
			w.reserved.add(up.ID, first, 0)
			if _, err := w.Commit(ctx, "", "a", up.ID, d, chunk("hello")); err != nil {
				return 0, err
			}
			return copy(p, "other"), io.EOF
		})
		_, err = w.Commit(ctx, "", "a", up.ID, digest.FromString("wrong"), Chunk{Body: between, Offset: -1, Length: 5})
		w.want(manifest.ErrDigestInvalid, err)
		w.must(w.deleteObjects(ctx))
		if n := len(w.objects()); n != 1 {
			t.Errorf("%d objects, want the blob's alone", n)
		}
		w.wantBlob("a", "hello")
	})
}

func TestAlgorithms(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		for _, alg := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
			for _, opened := range []digest.Algorithm{"", digest.SHA256, digest.SHA512} {
				text := "hello " + alg.String() + opened.String()
				up, err := w.CreateUpload(ctx, by(""), "a", opened)
				w.must(err)
				_, err = w.Append(ctx, "", "a", up.ID, chunk(text[:3]))
				w.must(err)
				_, err = w.Append(ctx, "", "a", up.ID, chunk(text[3:7]))
				w.must(err)
				d := alg.FromString(text)
				_, err = w.Commit(ctx, "", "a", up.ID, d, chunk(text[7:]))
				w.must(err)
				got, err := w.read("a", d)
				w.must(err)
				if got != text {
					t.Fatalf("read %q, want %q", got, text)
				}
			}
		}
		b, err := w.PutBlob(ctx, by(""), "a", digest.SHA512.FromString(""), none)
		w.must(err)
		if b.Size != 0 {
			t.Fatalf("the empty blob has %d bytes", b.Size)
		}
		w.push("a", "")
		w.wantBlob("a", "")
	})
}

func TestLostHashStateIsReadBack(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		_, err = w.Append(ctx, "", "a", up.ID, chunk("hello "))
		w.must(err)
		w.must(w.db.Tx(ctx, func(tx *meta.Tx) error {
			_, err := tx.AdvanceUpload(up.ID, "sha256", 6, 6, []byte("no state"), w.now())
			return err
		}))
		_, err = w.Commit(ctx, "", "a", up.ID, digest.FromString("hello world"), chunk("world"))
		w.must(err)
		w.wantBlob("a", "hello world")
	})
}

func TestInterruptedBody(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		// A PATCH keeps what arrived.
		up, err = w.Append(ctx, "", "a", up.ID, Chunk{Body: broken{strings.NewReader("hello ")}, Offset: -1, Length: 100})
		w.want(ErrClientBody, err)
		if up.Size != 6 {
			t.Fatalf("of 6 bytes %d were kept", up.Size)
		}
		up, err = w.Append(ctx, "", "a", up.ID, Chunk{Body: broken{strings.NewReader("")}, Offset: -1, Length: 100})
		w.want(ErrClientBody, err)
		if up.Size != 6 {
			t.Fatalf("after nothing arrived the session has %d bytes", up.Size)
		}
		// A PUT does not, for clients repeat it whole.
		_, err = w.Commit(ctx, "", "a", up.ID, digest.FromString("hello world"), Chunk{Body: broken{strings.NewReader("wor")}, Offset: -1, Length: 5})
		w.want(ErrClientBody, err)
		_, err = w.PutBlob(ctx, by(""), "a", digest.FromString("hello world"), Chunk{Body: broken{strings.NewReader("hello")}, Offset: -1, Length: -1})
		w.want(ErrClientBody, err)
		// More or fewer bytes than announced are not taken.
		for _, text := range []string{"wo", "worlds"} {
			_, err = w.Append(ctx, "", "a", up.ID, Chunk{Body: strings.NewReader(text), Offset: 6, Length: 5})
			w.want(ErrSizeInvalid, err)
		}
		_, err = w.Commit(ctx, "", "a", up.ID, digest.FromString("hello world"), chunk("world"))
		w.must(err)
		w.wantBlob("a", "hello world")
		w.settle(2)
	})
}

func TestCancelAndExpiry(t *testing.T) {
	each(t, Options{UploadExpiry: time.Hour}, func(w *world) {
		ctx := t.Context()
		for _, cancel := range []bool{true, false} {
			up, err := w.CreateUpload(ctx, by(""), "a", "")
			w.must(err)
			_, err = w.Append(ctx, "", "a", up.ID, chunk("hello"))
			w.must(err)
			if cancel {
				w.must(w.CancelUpload(ctx, "", "a", up.ID))
			} else {
				w.advance(59 * time.Minute)
				w.must(w.expireUploads(ctx))
				_, err = w.Append(ctx, "", "a", up.ID, chunk(" world"))
				w.must(err)
				w.settle(0)
			}
			_, err = w.Upload(ctx, "", "a", up.ID)
			w.want(ErrUploadUnknown, err)
		}
		w.settle(0)
		names, err := w.Repositories(ctx, "", "", 10)
		w.must(err)
		if len(names) != 0 {
			t.Errorf("uploads alone are in the catalog: %v", names)
		}
		_, err = w.Tags(ctx, "a", "", 10)
		w.want(ErrNameUnknown, err)
	})
}

func TestTwoWriters(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		var wg sync.WaitGroup
		results := make([]error, 8)
		for i := range results {
			wg.Go(func() {
				_, results[i] = w.Append(ctx, "", "a", up.ID, Chunk{Body: strings.NewReader("hello"), Offset: 0, Length: 5})
			})
		}
		wg.Wait()
		won := 0
		for _, err := range results {
			if err == nil {
				won++
			} else if !errors.Is(err, ErrRangeInvalid) {
				t.Errorf("a chunk that lost: %v", err)
			}
		}
		if won != 1 {
			t.Fatalf("%d chunks at offset 0 were taken", won)
		}
		for i := range results {
			wg.Go(func() {
				_, results[i] = w.Commit(ctx, "", "a", up.ID, digest.FromString("hello world"), chunk(" world"))
			})
		}
		wg.Wait()
		if err := errors.Join(results...); err != nil {
			t.Errorf("the same PUT, eight at once: %v", err)
		}
		w.wantBlob("a", "hello world")
		w.settle(2)
	})
}

func TestSameBlobAtOnce(t *testing.T) {
	each(t, Options{}, func(w *world) {
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if _, err := w.PutBlob(t.Context(), by(""), "a", digest.FromString("hello"), chunk("hello")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		w.wantBlob("a", "hello")
		w.settle(1)
	})
}

// slow gives one byte at a time and lets the clock run on.
type slow struct {
	w    *world
	left int
}

func (s *slow) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	s.w.advance(50 * time.Second)
	p[0] = 'x'
	return 1, nil
}

func TestSlowWriterKeepsItsLease(t *testing.T) {
	each(t, Options{UploadExpiry: 10 * time.Minute}, func(w *world) {
		ctx := t.Context()
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		src := &slow{w: w, left: 60} // 50 minutes
		jobs := readerFunc(func(p []byte) (int, error) {
			if err := errors.Join(w.expireUploads(ctx), w.deleteObjects(ctx)); err != nil {
				return 0, err
			}
			return src.Read(p)
		})
		up, err = w.Append(ctx, "", "a", up.ID, Chunk{Body: jobs, Offset: -1, Length: -1})
		w.must(err)
		if up.Size != 60 {
			t.Fatalf("%d bytes of 60", up.Size)
		}
	})
}

// A session that ends while a request writes to it takes the object with it, however long that
// request goes on.
func TestSessionEndsUnderSlowWriter(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		for _, first := range []bool{true, false} { // on the key of the session's opening, and on another
			up, err := w.CreateUpload(ctx, by(""), "a", "")
			w.must(err)
			kept := 0
			if !first {
				_, err = w.Append(ctx, "", "a", up.ID, chunk("x"))
				w.must(err)
				kept = 1
			}
			src := &slow{w: w, left: 60} // 50 minutes
			canceling := readerFunc(func(p []byte) (int, error) {
				if src.left == 50 {
					w.must(w.CancelUpload(ctx, "", "a", up.ID))
				}
				if err := errors.Join(w.expireUploads(ctx), w.deleteObjects(ctx)); err != nil {
					return 0, err
				}
				return src.Read(p)
			})
			_, err = w.Append(ctx, "", "a", up.ID, Chunk{Body: canceling, Offset: int64(kept), Length: -1})
			w.want(ErrUploadUnknown, err)
			if src.left == 0 {
				t.Error("the whole body was read for nothing")
			}
			w.settle(0)
		}
	})
}

// The key that is reserved with a session is an offer: the session goes on without it.
func TestReservationIsNotNeeded(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		commit := func(id, text string, prepare func()) {
			t.Helper()
			prepare()
			_, err := w.Commit(ctx, "", "a", id, digest.FromString(text), chunk(text))
			w.must(err)
			w.wantBlob("a", text)
		}
		for text, prepare := range map[string]func(id string){
			"used":   func(id string) {},
			"late":   func(id string) { w.advance(time.Hour) },
			"forgot": func(id string) { w.reserved.take(id) },
			"wasted": func(id string) {
				_, err := w.Append(ctx, "", "a", id, Chunk{Body: strings.NewReader("x"), Offset: 7, Length: 1})
				w.want(ErrRangeInvalid, err)
			},
			"failed": func(id string) {
				_, err := w.Commit(ctx, "", "a", id, digest.FromString("failed"), Chunk{Body: broken{strings.NewReader("fai")}, Offset: -1, Length: 6})
				w.want(ErrClientBody, err)
			},
			"foreign": func(id string) {
				_, err := w.Append(ctx, "", "b", id, chunk("x"))
				w.want(ErrUploadUnknown, err)
			},
		} {
			up, err := w.CreateUpload(ctx, by(""), "a", "")
			w.must(err)
			commit(up.ID, text, func() { prepare(up.ID) })
		}
		w.settle(6)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestConfirm refuses what is complete: nothing is recorded of it, its bytes go, and a session
// stays as it was.
func TestConfirm(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		refusal := errors.New("not any more")
		asked := 0
		chunk := func(text string, err error) Chunk {
			return Chunk{Body: iotest.OneByteReader(strings.NewReader(text)), Offset: -1, Length: int64(len(text)), Confirm: func() error {
				asked++
				return err
			}}
		}
		d := digest.FromString("hello, world")
		_, err := w.PutBlob(ctx, by(""), "a", d, chunk("hello, world", refusal))
		w.want(refusal, err)
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		_, err = w.Append(ctx, "", "a", up.ID, chunk("hello", nil))
		w.must(err)
		_, err = w.Append(ctx, "", "a", up.ID, chunk(", world", refusal))
		w.want(refusal, err)
		_, err = w.Commit(ctx, "", "a", up.ID, d, chunk(", world", refusal))
		w.want(refusal, err)
		_, err = w.Commit(ctx, "", "a", up.ID, digest.FromString("hello"), Chunk{Offset: -1, Length: 0, Confirm: func() error { return refusal }})
		w.want(refusal, err)
		if _, err := w.Blob(ctx, "a", d); !errors.Is(err, ErrBlobUnknown) || asked != 4 {
			t.Errorf("asked %d times, the blob: %v", asked, err)
		}
		now, err := w.Upload(ctx, "", "a", up.ID)
		w.must(err)
		if now.Size != 5 {
			t.Errorf("the session has %d bytes", now.Size)
		}
		_, err = w.Commit(ctx, "", "a", up.ID, d, chunk(", world", nil))
		w.must(err)
		w.wantBlob("a", "hello, world")
		w.settle(2)
	})
}
