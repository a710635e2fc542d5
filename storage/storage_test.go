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

// testRegistry is a registry on a real bucket and database. A test controls its clock and injects
// faults into its bucket and its commits.
type testRegistry struct {
	*Registry
	t      *testing.T
	faulty *buckettest.Faulty
	bucket bucket.Store
	db     *meta.DB
	log    *bytes.Buffer

	mu          sync.Mutex // guards the fields below
	clock       time.Time
	commitFault func(step string) error // nil, or the fault of each step of a commit
}

func (tr *testRegistry) Now() time.Time {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.clock = tr.clock.Add(time.Microsecond)
	return tr.clock
}

func (tr *testRegistry) advance(d time.Duration) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.clock = tr.clock.Add(d)
}

// failCommits injects f as the fault of each step of a commit. Nil removes it.
func (tr *testRegistry) failCommits(f func(step string) error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.commitFault = f
}

// onEachStore runs a test on every kind of bucket and database.
func onEachStore(t *testing.T, o Options, test func(tr *testRegistry)) {
	t.Run("file", func(t *testing.T) {
		dir := t.TempDir()
		test(newTestRegistry(t, "file://"+(&url.URL{Path: dir + "/blobs"}).EscapedPath(), "sqlite:"+filepath.Join(dir, "berth.db"), o))
	})
	t.Run("mem", func(t *testing.T) { test(newTestRegistry(t, "mem://", dbtest.Memory, o)) })
}

func newTestRegistry(t *testing.T, bucketURL, dbURL string, o Options) *testRegistry {
	t.Helper()
	ctx := t.Context()
	tr := &testRegistry{t: t, clock: time.Unix(1700000000, 0), log: &bytes.Buffer{}}
	tr.bucket = testbucket.Open(t, bucketURL)
	fault := func(step string) error {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		if tr.commitFault == nil {
			return nil
		}
		return tr.commitFault(step)
	}
	tr.db = meta.New(dbtest.OpenFaulty(t, dbURL, fault))
	tr.faulty = &buckettest.Faulty{Store: tr.bucket}
	o.Now, o.CacheBytes = tr.Now, 1<<20
	o.Log = slog.New(slog.NewTextHandler(tr.log, nil))
	r, err := Open(ctx, tr.db, tr.faulty, o)
	if err != nil {
		t.Fatal(err)
	}
	tr.Registry = r
	return tr
}

func (tr *testRegistry) must(err error) {
	tr.t.Helper()
	if err != nil {
		tr.t.Fatal(err)
	}
}

func (tr *testRegistry) want(kind, err error) {
	tr.t.Helper()
	if !errors.Is(err, kind) {
		tr.t.Fatalf("got error %v, want %v", err, kind)
	}
}

func chunk(b string) Chunk {
	return Chunk{Body: strings.NewReader(b), Offset: -1, Length: int64(len(b))}
}

// by returns a caller that is charged under its own name.
func callerOf(owner string) Caller { return Caller{Owner: owner, Charged: owner} }

// push pushes b as a blob of the repository.
func (tr *testRegistry) push(repo, b string) digest.Digest {
	tr.t.Helper()
	d := digest.FromString(b)
	got, err := tr.PutBlob(tr.t.Context(), callerOf(""), repo, d, chunk(b))
	tr.must(err)
	if got.Digest != d || got.Size != int64(len(b)) {
		tr.t.Fatalf("pushed %s of %d bytes, got %+v", d, len(b), got)
	}
	return d
}

// read returns a blob's bytes, or "" and the error.
func (tr *testRegistry) read(repo string, d digest.Digest) (string, error) {
	b, err := tr.Blob(tr.t.Context(), repo, d)
	if err != nil {
		return "", err
	}
	f, err := b.Open(tr.t.Context())
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	return string(text), err
}

func (tr *testRegistry) wantBlob(repo, b string) {
	tr.t.Helper()
	got, err := tr.read(repo, digest.FromString(b))
	tr.must(err)
	if got != b {
		tr.t.Fatalf("read %.40q, want %.40q", got, b)
	}
}

// objects returns the keys that the bucket holds, without the marker.
func (tr *testRegistry) objects() []string {
	tr.t.Helper()
	var keys []string
	for key, err := range tr.bucket.Keys(tr.t.Context()) {
		tr.must(err)
		if key != bucket.Marker {
			keys = append(keys, key)
		}
	}
	return keys
}

// wantAfterJobs runs the jobs two days later and checks that n objects remain.
func (tr *testRegistry) wantAfterJobs(n int) {
	tr.t.Helper()
	tr.advance(48 * time.Hour)
	tr.must(tr.expireUploads(tr.t.Context()))
	tr.must(tr.deleteObjects(tr.t.Context()))
	if keys := tr.objects(); len(keys) != n {
		tr.t.Fatalf("%d objects remain, want %d: %v", len(keys), n, keys)
	}
}

// image returns a manifest of these blobs, the first of which is the config.
func (tr *testRegistry) image(annotation string, blobs ...string) *manifest.Manifest {
	tr.t.Helper()
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
	tr.must(err)
	return tr.parse(manifest.MediaTypeImage, text)
}

// index returns an index of these children.
func (tr *testRegistry) index(children ...*manifest.Manifest) *manifest.Manifest {
	tr.t.Helper()
	descriptors := make([]manifest.Descriptor, len(children))
	for i, c := range children {
		descriptors[i] = manifest.Descriptor{MediaType: c.MediaType, Digest: c.Digest, Size: int64(len(c.Payload))}
	}
	var text bytes.Buffer
	writer := manifest.NewIndexWriter(&text)
	tr.must(writer.Add(descriptors))
	tr.must(writer.Close())
	return tr.parse(manifest.MediaTypeIndex, text.Bytes())
}

func (tr *testRegistry) parse(mediaType string, text []byte) *manifest.Manifest {
	tr.t.Helper()
	m, err := manifest.Parse(mediaType, text, "")
	tr.must(err)
	return m
}

func (tr *testRegistry) put(repo string, m *manifest.Manifest, tags ...string) {
	tr.t.Helper()
	tr.must(tr.PutManifest(tr.t.Context(), "alice", repo, m, tags, Condition{}))
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
			_, err = r.PutBlob(ctx, callerOf(""), "a", digest.FromString("x"), chunk("x"))
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
