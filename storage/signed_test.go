package storage

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

// signingStore signs URLs that are the key, and counts the objects that are opened.
type signingStore struct {
	*buckettest.Faulty
	err    error
	opened int
}

func (s *signingStore) SignURL(_ context.Context, key string, o bucket.SignOptions) (string, error) {
	return key + "?" + o.Expiry.String(), s.err
}

// signing makes the bucket of the registry sign URLs.
func (tr *testRegistry) signing() *signingStore {
	s := &signingStore{Faulty: tr.faulty}
	tr.Registry.bucket = s
	tr.faulty.Fail = func(op, key string) (bool, error) {
		if op == "get" && key != bucket.Marker {
			s.opened++
		}
		return true, nil
	}
	return s
}

func (tr *testRegistry) sign(d digest.Digest) (string, error) {
	tr.t.Helper()
	b, err := tr.Blob(tr.t.Context(), "a", d)
	if err != nil {
		return "", err
	}
	return b.SignURL(tr.t.Context(), SignOptions{Expiry: time.Minute})
}

func (tr *testRegistry) wantURL(d digest.Digest, want string) {
	tr.t.Helper()
	if url, err := tr.sign(d); url != want || err != nil {
		tr.t.Errorf("signed %q, %v, want %q", url, err, want)
	}
}

// TestSignURL: a blob of one object has a URL. The object is read before the first one, and then
// once an hour.
func TestSignURL(t *testing.T) {
	tr, _ := newFileRegistry(t, Options{})
	d := tr.push("a", "hello")
	key := tr.objects()[0]
	tr.wantURL(d, "") // a directory signs nothing
	s := tr.signing()
	for range 3 {
		tr.wantURL(d, key+"?1m0s")
	}
	if s.opened != 1 {
		t.Errorf("the object was opened %d times", s.opened)
	}
	tr.advance(presentAge)
	tr.wantURL(d, key+"?1m0s")
	if s.opened != 2 {
		t.Errorf("after an hour, the object was opened %d times in all", s.opened)
	}

	two := digest.FromString("hello world")
	_, err := tr.Commit(t.Context(), "", "a", tr.session("a", "hello "), two, chunk("world"))
	tr.must(err)
	tr.wantURL(two, "")
	tr.wantURL(tr.push("a", ""), "")

	s.err = bucket.ErrCannotSign
	tr.wantURL(d, "")
	s.err = errors.New("no credentials")
	_, err = tr.sign(d)
	tr.want(ErrUnavailable, err)
}

// TestSignURLOfLostObject: no client is sent to an object that is lost or cannot be read. So the
// registry opens it, finds that it is damaged, and the next push heals it.
func TestSignURLOfLostObject(t *testing.T) {
	tr, _ := newFileRegistry(t, Options{})
	d := tr.push("a", "hello")
	lost := tr.objects()[0]
	tr.signing()
	tr.wantURL(d, lost+"?1m0s")
	tr.failGet(fs.ErrNotExist, lost)
	tr.wantURL(d, lost+"?1m0s") // not noticed yet
	tr.advance(presentAge)
	tr.wantURL(d, "")
	_, err := tr.read("a", d)
	tr.want(ErrBlobUnknown, err)
	_, err = tr.sign(d)
	tr.want(ErrBlobUnknown, err)

	tr.push("a", "hello")
	b, err := tr.Blob(t.Context(), "a", d)
	tr.must(err)
	tr.wantURL(d, b.object.Key+"?1m0s")
	if b.object.Key == lost {
		t.Error("the blob still has the lost object")
	}

	for fault, want := range map[error]error{bucket.ErrUnreadable: ErrBlobUnknown, syscall.EIO: ErrUnavailable} {
		tr.failGet(fault, b.object.Key)
		_, err = tr.read("a", d)
		tr.want(want, err)
		_, err = tr.sign(d) // although the object was read within the hour
		tr.want(want, err)
		tr.failGet(nil)
		tr.wantURL(d, b.object.Key+"?1m0s")
	}
}
