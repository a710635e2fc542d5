package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
	"github.com/berth-registry/berth/storage/meta"
)

// world is a registry on a real bucket and database. A test controls its clock and injects faults
// into its bucket and its commits.
type world struct {
	*Registry
	t      *testing.T
	bytes  *buckettest.Faulty
	bucket bucket.Store
	db     *meta.DB
	log    *bytes.Buffer

	mu     sync.Mutex // guards the fields below
	clock  time.Time
	commit func(step string) error // nil, or the fault of each step of a commit
}

func (w *world) Now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(time.Microsecond)
	return w.clock
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

// failCommits injects f as the fault of each step of a commit. Nil removes it.
func (w *world) failCommits(f func(step string) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.commit = f
}

// each runs a test on every kind of bucket and database.
func each(t *testing.T, o Options, test func(w *world)) {
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		test(newWorld(t, "file://"+(&url.URL{Path: dir + "/blobs"}).EscapedPath(), "sqlite:"+filepath.Join(dir, "berth.db"), o))
	})
	t.Run("mem", func(t *testing.T) { test(newWorld(t, "mem://", dbtest.Memory, o)) })
}

func newWorld(t *testing.T, bucketURL, dbURL string, o Options) *world {
	t.Helper()
	ctx := t.Context()
	w := &world{t: t, clock: time.Unix(1700000000, 0), log: &bytes.Buffer{}}
	w.bucket = testbucket.Open(t, bucketURL)
	fault := func(step string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.commit == nil {
			return nil
		}
		return w.commit(step)
	}
	w.db = meta.New(dbtest.OpenFaulty(t, dbURL, fault))
	w.bytes = &buckettest.Faulty{Store: w.bucket}
	o.Now, o.CacheBytes = w.Now, 1<<20
	o.Log = slog.New(slog.NewTextHandler(w.log, nil))
	r, err := Open(ctx, w.db, w.bytes, o)
	if err != nil {
		t.Fatal(err)
	}
	w.Registry = r
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) want(kind, err error) {
	w.t.Helper()
	if !errors.Is(err, kind) {
		w.t.Fatalf("got error %v, want %v", err, kind)
	}
}

func chunk(b string) Chunk {
	return Chunk{Body: strings.NewReader(b), Offset: -1, Length: int64(len(b))}
}

// by returns a caller that is charged under its own name.
func by(owner string) Caller { return Caller{Owner: owner, Charged: owner} }

// push pushes b as a blob of the repository.
func (w *world) push(repo, b string) digest.Digest {
	w.t.Helper()
	d := digest.FromString(b)
	got, err := w.PutBlob(w.t.Context(), by(""), repo, d, chunk(b))
	w.must(err)
	if got.Digest != d || got.Size != int64(len(b)) {
		w.t.Fatalf("pushed %s of %d bytes, got %+v", d, len(b), got)
	}
	return d
}

// read returns a blob's bytes, or "" and the error.
func (w *world) read(repo string, d digest.Digest) (string, error) {
	b, err := w.Blob(w.t.Context(), repo, d)
	if err != nil {
		return "", err
	}
	f, err := b.Open(w.t.Context())
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	return string(text), err
}

func (w *world) wantBlob(repo, b string) {
	w.t.Helper()
	got, err := w.read(repo, digest.FromString(b))
	w.must(err)
	if got != b {
		w.t.Fatalf("read %.40q, want %.40q", got, b)
	}
}

// objects returns the keys that the bucket holds, without the marker.
func (w *world) objects() []string {
	w.t.Helper()
	var keys []string
	for key, err := range w.bucket.Keys(w.t.Context()) {
		w.must(err)
		if key != bucket.Marker {
			keys = append(keys, key)
		}
	}
	return keys
}

// settle runs the jobs after two days and checks that n objects remain.
func (w *world) settle(n int) {
	w.t.Helper()
	w.advance(48 * time.Hour)
	w.must(w.expireUploads(w.t.Context()))
	w.must(w.deleteObjects(w.t.Context()))
	if keys := w.objects(); len(keys) != n {
		w.t.Fatalf("%d objects remain, want %d: %v", len(keys), n, keys)
	}
}

// image returns a manifest of these blobs, the first of which is the config.
func (w *world) image(annotation string, blobs ...string) *manifest.Manifest {
	w.t.Helper()
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	descriptors := make([]descriptor, len(blobs))
	for i, b := range blobs {
		descriptors[i] = descriptor{"application/vnd.oci.image.layer.v1.tar", digest.FromString(b).String(), len(b)}
	}
	text, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifest.MediaTypeImage,
		"config": descriptors[0], "layers": descriptors[1:],
		"annotations": map[string]string{"note": annotation},
	})
	w.must(err)
	return w.parse(manifest.MediaTypeImage, text)
}

// index returns an index of these children.
func (w *world) index(children ...*manifest.Manifest) *manifest.Manifest {
	w.t.Helper()
	descriptors := make([]manifest.Descriptor, len(children))
	for i, c := range children {
		descriptors[i] = manifest.Descriptor{MediaType: c.MediaType, Digest: c.Digest, Size: int64(len(c.Payload))}
	}
	var text bytes.Buffer
	writer := manifest.NewIndexWriter(&text)
	w.must(writer.Add(descriptors))
	w.must(writer.Close())
	return w.parse(manifest.MediaTypeIndex, text.Bytes())
}

func (w *world) parse(mediaType string, text []byte) *manifest.Manifest {
	w.t.Helper()
	m, err := manifest.Parse(mediaType, text, "")
	w.must(err)
	return m
}

func (w *world) put(repo string, m *manifest.Manifest, tags ...string) {
	w.t.Helper()
	w.must(w.PutManifest(w.t.Context(), "alice", repo, m, tags, Condition{}))
}

func tag(name string) manifest.Reference { return manifest.Reference{Tag: name} }

func byDigest(d digest.Digest) manifest.Reference { return manifest.Reference{Digest: d} }

func TestMarker(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	open := func(b, d string) error {
		bkt := testbucket.Open(t, "file://"+filepath.Join(dir, b))
		r, err := Open(ctx, meta.New(dbtest.Open(t, "sqlite:"+filepath.Join(dir, d))), bkt, Options{})
		if err == nil {
			_, err = r.PutBlob(ctx, by(""), "a", digest.FromString("x"), chunk("x"))
		}
		return err
	}
	for _, pair := range []string{"one", "two", "one", "two"} {
		if err := open(pair, pair+".db"); err != nil {
			t.Fatalf("%s: %v", pair, err)
		}
	}
	for _, test := range []struct{ bucket, db, want string }{
		{"one", "two.db", "belongs to registry"},
		{"one", "new.db", "database is new"},
		{"empty", "one.db", "not this registry's bucket"},
	} {
		if err := open(test.bucket, test.db); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("bucket %s with %s: got %v, want an error with %q", test.bucket, test.db, err, test.want)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "one", bucket.Marker), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open("one", "one.db"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged marker: %v", err)
	}
}
