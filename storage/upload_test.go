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

// brokenReader reads text and then fails like a broken connection.
type brokenReader struct{ text io.Reader }

var errConnection = errors.New("connection reset")

func (b brokenReader) Read(p []byte) (int, error) {
	n, err := b.text.Read(p)
	if err == io.EOF {
		err = errConnection
	}
	return n, err
}

var emptyChunk = Chunk{Offset: -1, Length: -1}

// TestMismatchAfterCommit checks that a PUT with a wrong digest fails after another PUT has
// finished the session, and that its bytes are released at once.
func TestMismatchAfterCommit(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
		tr.must(err)
		d := digest.FromString("hello")
		first, _ := tr.reservations.take(up.ID) // for the other PUT, which so sees no other part
		between := readerFunc(func(p []byte) (int, error) {
			tr.reservations.add(up.ID, first, 0)
			if _, err := tr.Commit(ctx, "", "a", up.ID, d, chunk("hello")); err != nil {
				return 0, err
			}
			return copy(p, "other"), io.EOF
		})
		_, err = tr.Commit(ctx, "", "a", up.ID, digest.FromString("wrong"), Chunk{Body: between, Offset: -1, Length: 5})
		tr.want(manifest.ErrDigestInvalid, err)
		tr.must(tr.deleteObjects(ctx))
		if n := len(tr.objects()); n != 1 {
			t.Errorf("%d objects, want the blob's alone", n)
		}
		tr.wantBlob("a", "hello")
	})
}

func TestLostHashStateIsReadBack(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
		tr.must(err)
		_, err = tr.Append(ctx, "", "a", up.ID, chunk("hello "))
		tr.must(err)
		tr.loseHashState("a", up.ID)
		_, err = tr.Commit(ctx, "", "a", up.ID, digest.FromString("hello world"), chunk("world"))
		tr.must(err)
		tr.wantBlob("a", "hello world")
	})
}

func TestCancelAndExpiry(t *testing.T) {
	onEachStore(t, Options{UploadExpiry: time.Hour}, func(tr *testRegistry) {
		ctx := t.Context()
		for _, cancel := range []bool{true, false} {
			up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
			tr.must(err)
			_, err = tr.Append(ctx, "", "a", up.ID, chunk("hello"))
			tr.must(err)
			if cancel {
				tr.must(tr.CancelUpload(ctx, "", "a", up.ID))
			} else {
				tr.advance(59 * time.Minute)
				tr.must(tr.expireUploads(ctx))
				_, err = tr.Append(ctx, "", "a", up.ID, chunk(" world"))
				tr.must(err)
				tr.wantAfterJobs(0)
			}
			_, err = tr.Upload(ctx, "", "a", up.ID)
			tr.want(ErrUploadUnknown, err)
		}
		tr.wantAfterJobs(0)
		names, err := tr.Repositories(ctx, "", "", 10)
		tr.must(err)
		if len(names) != 0 {
			t.Errorf("uploads alone are in the catalog: %v", names)
		}
		_, err = tr.Tags(ctx, "a", "", 10)
		tr.want(ErrNameUnknown, err)
	})
}

// slowReader reads one byte at a time, and advances the clock by 50 seconds for each.
type slowReader struct {
	tr   *testRegistry
	left int
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	s.left--
	s.tr.advance(50 * time.Second)
	p[0] = 'x'
	return 1, nil
}

func TestSlowWriterKeepsItsLease(t *testing.T) {
	onEachStore(t, Options{UploadExpiry: 10 * time.Minute}, func(tr *testRegistry) {
		ctx := t.Context()
		up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
		tr.must(err)
		src := &slowReader{tr: tr, left: 60} // 50 minutes
		jobs := readerFunc(func(p []byte) (int, error) {
			if err := errors.Join(tr.expireUploads(ctx), tr.deleteObjects(ctx)); err != nil {
				return 0, err
			}
			return src.Read(p)
		})
		up, err = tr.Append(ctx, "", "a", up.ID, Chunk{Body: jobs, Offset: -1, Length: -1})
		tr.must(err)
		if up.Size != 60 {
			t.Fatalf("%d bytes of 60", up.Size)
		}
	})
}

// TestSessionEndsUnderSlowWriter checks that the object of a running request is deleted when its
// session ends, and that the request fails before the end of its body.
func TestSessionEndsUnderSlowWriter(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		for _, first := range []bool{true, false} { // on the reserved key, and on another
			up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
			tr.must(err)
			kept := 0
			if !first {
				_, err = tr.Append(ctx, "", "a", up.ID, chunk("x"))
				tr.must(err)
				kept = 1
			}
			src := &slowReader{tr: tr, left: 60} // 50 minutes
			canceling := readerFunc(func(p []byte) (int, error) {
				if src.left == 50 {
					tr.must(tr.CancelUpload(ctx, "", "a", up.ID))
				}
				if err := errors.Join(tr.expireUploads(ctx), tr.deleteObjects(ctx)); err != nil {
					return 0, err
				}
				return src.Read(p)
			})
			_, err = tr.Append(ctx, "", "a", up.ID, Chunk{Body: canceling, Offset: int64(kept), Length: -1})
			tr.want(ErrUploadUnknown, err)
			if src.left == 0 {
				t.Error("the whole body was read for nothing")
			}
			tr.wantAfterJobs(0)
		}
	})
}

// TestReservationIsNotNeeded checks that a session can continue without its reservation.
func TestReservationIsNotNeeded(t *testing.T) {
	onEachStore(t, Options{}, func(tr *testRegistry) {
		ctx := t.Context()
		commit := func(id, text string, prepare func()) {
			t.Helper()
			prepare()
			_, err := tr.Commit(ctx, "", "a", id, digest.FromString(text), chunk(text))
			tr.must(err)
			tr.wantBlob("a", text)
		}
		for text, prepare := range map[string]func(id string){
			"used":   func(id string) {},
			"late":   func(id string) { tr.advance(time.Hour) },
			"forgot": func(id string) { tr.reservations.take(id) },
			"wasted": func(id string) {
				_, err := tr.Append(ctx, "", "a", id, Chunk{Body: strings.NewReader("x"), Offset: 7, Length: 1})
				tr.want(ErrRangeInvalid, err)
			},
			"failed": func(id string) {
				_, err := tr.Commit(ctx, "", "a", id, digest.FromString("failed"), Chunk{Body: brokenReader{strings.NewReader("fai")}, Offset: -1, Length: 6})
				tr.want(ErrClientBody, err)
			},
			"foreign": func(id string) {
				_, err := tr.Append(ctx, "", "b", id, chunk("x"))
				tr.want(ErrUploadUnknown, err)
			},
		} {
			up, err := tr.CreateUpload(ctx, callerOf(""), "a", "")
			tr.must(err)
			commit(up.ID, text, func() { prepare(up.ID) })
		}
		tr.wantAfterJobs(6)
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
