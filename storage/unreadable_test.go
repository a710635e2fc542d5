package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/berth-registry/berth/storage/bucket"
)

// failGet makes Get of these keys fail with err.
func (tr *testRegistry) failGet(err error, keys ...string) {
	tr.faulty.Fail = func(op, key string) (bool, error) {
		for _, failing := range keys {
			if op == "get" && key == failing {
				return false, err
			}
		}
		return true, nil
	}
}

// TestUnreadableObject checks that a blob with an object that cannot be opened is the same for HEAD
// and GET, is not mounted, is well again when the fault passes, and is healed by each kind of push.
func TestUnreadableObject(t *testing.T) {
	forbidden := fmt.Errorf("%w: %w", bucket.ErrUnreadable, syscall.EACCES)
	for name, test := range map[string]struct {
		fault, want error
		push        func(tr *testRegistry, repo string)
	}{
		"the mode of the file": {forbidden, ErrBlobUnknown, func(tr *testRegistry, repo string) { tr.push(repo, "hello") }},
		"chunks": {forbidden, ErrBlobUnknown, func(tr *testRegistry, repo string) {
			_, err := tr.Commit(tr.t.Context(), "", repo, tr.session(repo, "hel"), digest.FromString("hello"), chunk("lo"))
			tr.must(err)
		}},
		"its directory": {syscall.EACCES, ErrUnavailable, func(tr *testRegistry, repo string) { tr.push(repo, "hello") }},
	} {
		t.Run(name, func(t *testing.T) {
			tr, _ := newFileRegistry(t, Options{DeleteDelay: time.Minute})
			d := tr.push("a", "hello")
			object := tr.objects()[0]
			tr.failGet(test.fault, object)
			for range 2 {
				_, err := tr.read("a", d)
				tr.want(test.want, err)
				_, err = tr.Blob(t.Context(), "a", d)
				tr.want(test.want, err)
				_, err = tr.Mount(t.Context(), "", "c", d, "a")
				tr.want(ErrBlobUnknown, err)
			}
			if n := strings.Count(tr.log.String(), "a blob cannot be read"); n != 1 {
				t.Errorf("%d lines in the log, want one: %s", n, tr.log)
			}
			tr.faulty.Fail = nil
			tr.wantBlob("a", "hello")

			tr.failGet(test.fault, object)
			_, err := tr.read("a", d)
			tr.want(test.want, err)
			test.push(tr, "b")
			tr.wantBlob("a", "hello")
			tr.wantBlob("b", "hello")
			if !strings.Contains(tr.log.String(), "is damaged") {
				t.Errorf("the damage is not in the log: %s", tr.log)
			}
			tr.faulty.Fail = nil
			tr.advance(time.Hour)
			tr.wantBlob("a", "hello")
		})
	}
}

// TestUnreadablePart checks the same for one of the objects of a blob, which its reader meets after
// others.
func TestUnreadablePart(t *testing.T) {
	tr, dir := newFileRegistry(t, Options{})
	d := digest.FromString("hello world")
	_, err := tr.Commit(t.Context(), "", "a", tr.session("a", "hello "), d, chunk("world"))
	tr.must(err)
	var last string
	for _, key := range tr.objects() {
		text, err := os.ReadFile(filepath.Join(dir, key))
		tr.must(err)
		if string(text) == "world" {
			last = key
		}
	}
	tr.failGet(fmt.Errorf("%w: %w", bucket.ErrUnreadable, syscall.EIO), last)
	for range 2 {
		_, err = tr.read("a", d)
		tr.want(ErrBlobUnknown, err)
	}
	tr.push("b", "hello world")
	tr.wantBlob("a", "hello world")
}

// TestBucketReadable checks the metric of the bucket: it is 1 as long as the marker was read a
// short time ago.
func TestBucketReadable(t *testing.T) {
	tr, _ := newFileRegistry(t, Options{})
	want := func(want float64) {
		t.Helper()
		if got := testutil.ToFloat64(tr.Collectors()[1]); got != want {
			t.Errorf("the metric is %v, want %v", got, want)
		}
	}
	want(1)
	tr.advance(29 * time.Second)
	want(1)
	tr.advance(2 * time.Second)
	want(0)
	tr.must(tr.checkMarker(t.Context()))
	want(1)
	tr.failGet(errFault, bucket.Marker)
	tr.advance(31 * time.Second)
	tr.want(errFault, tr.checkMarker(t.Context()))
	want(0)
}

// TestHangingBucketDoesNotHoldAStop checks that the jobs end while the bucket hangs.
func TestHangingBucketDoesNotHoldAStop(t *testing.T) {
	tr, _ := newFileRegistry(t, Options{})
	reading, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	tr.faulty.Fail = func(op, key string) (bool, error) {
		if op == "get" && key == bucket.Marker {
			close(reading)
			<-release
		}
		return true, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- tr.RunJobs(ctx) }()
	<-reading
	cancel()
	tr.must(<-stopped)
}
