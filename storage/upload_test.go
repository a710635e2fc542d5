package storage

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
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

func TestLostHashStateIsReadBack(t *testing.T) {
	each(t, Options{}, func(w *world) {
		ctx := t.Context()
		up, err := w.CreateUpload(ctx, by(""), "a", "")
		w.must(err)
		_, err = w.Append(ctx, "", "a", up.ID, chunk("hello "))
		w.must(err)
		w.loseHashState("a", up.ID)
		_, err = w.Commit(ctx, "", "a", up.ID, digest.FromString("hello world"), chunk("world"))
		w.must(err)
		w.wantBlob("a", "hello world")
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
