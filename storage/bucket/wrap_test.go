package bucket_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
	"github.com/berth-registry/berth/storage/bucket/cloud"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
)

const testKey = "content/5e/abc-1"

func TestLimitSpace(t *testing.T) {
	unread := &buckettest.Hook{Reader: buckettest.Endless{}, Do: func() { t.Error("read, although there is no space") }}
	path, root := t.TempDir(), t.TempDir()
	rootURL, err := bucket.FileURL(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]bucket.Store{
		"its own":   bucket.LimitSpace(testbucket.Open(t, rootURL), math.MaxInt64, root),
		"another's": bucket.LimitSpace(testbucket.Open(t, "mem://"), math.MaxInt64, path),
	} {
		if _, err := b.Put(t.Context(), testKey, unread, io.Discard); !errors.Is(err, bucket.ErrNoSpace) {
			t.Errorf("%s: %v", name, err)
		}
		if err := bucket.Instrument(b).CheckSpace(); !errors.Is(err, bucket.ErrNoSpace) {
			t.Errorf("%s, before a Put: %v", name, err)
		}
		buckettest.WantKeys(t, b)
		if err := b.Delete(t.Context(), testKey); err != nil {
			t.Errorf("%s: Delete needs space: %v", name, err)
		}
	}
	b := bucket.LimitSpace(testbucket.Open(t, rootURL), 1, root, path)
	buckettest.MustPut(t, b, testKey, buckettest.Body(3<<20))
	buckettest.WantObject(t, b, testKey, buckettest.Body(3<<20))
	b = bucket.LimitSpace(testbucket.Open(t, "mem://"), 1, filepath.Join(path, "none"))
	_, err = b.Put(t.Context(), testKey, unread, io.Discard)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, bucket.ErrNoSpace) {
		t.Errorf("a path that is not there: %v", err)
	}
	b = testbucket.Open(t, "mem://")
	if bucket.LimitSpace(b, 0, filepath.Join(path, "none")) != b || b.CheckSpace() != nil {
		t.Error("no limit is one")
	}
}

// TestWrappers runs the suite on a Store with all wrappers.
func TestWrappers(t *testing.T) {
	buckettest.Run(t, func(t testing.TB, o bucket.Options) bucket.Store {
		s := cloud.OpenMemory(o)
		t.Cleanup(func() { s.Close() })
		return bucket.Instrument(bucket.LimitSpace(&buckettest.Faulty{Store: s}, 1, t.TempDir()))
	})
}

func TestMetrics(t *testing.T) {
	faulty := &buckettest.Faulty{Store: testbucket.Open(t, "mem://")}
	b := bucket.Instrument(faulty)
	buckettest.MustPut(t, b, testKey, []byte("x"))
	buckettest.WantObject(t, b, testKey, []byte("x"))
	b.Get(t.Context(), bucket.Marker, 0, bucket.UnknownSize)
	b.Put(t.Context(), bucket.Marker, iotest.ErrReader(io.ErrUnexpectedEOF), io.Discard)
	faulty.ReplaceReadError = func(_ string, err error) error { return errors.New("broken") }
	b.Put(t.Context(), bucket.Marker, bytes.NewReader(nil), io.Discard)
	b.Delete(t.Context(), testKey)

	// Not counted.
	b.Put(t.Context(), "no key", bytes.NewReader(nil), io.Discard)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	b.Put(ended, testKey, bytes.NewReader(nil), io.Discard)
	b.Get(ended, testKey, 0, bucket.UnknownSize)
	b.Delete(ended, testKey)
	b.Close()
	b.Get(t.Context(), testKey, 0, bucket.UnknownSize)

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(b.Collectors()...)
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "berth_bucket_operation_seconds" {
		t.Fatal(families, err)
	}
	got := map[string]uint64{}
	for _, m := range families[0].GetMetric() {
		if n := m.GetHistogram().GetSampleCount(); n > 0 {
			got[m.GetLabel()[0].GetValue()+" "+m.GetLabel()[1].GetValue()] = n
		}
	}
	want := map[string]uint64{"put ok": 1, "put aborted": 1, "put error": 1, "get ok": 2, "delete ok": 1}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
