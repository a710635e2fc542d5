package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/db/dbtest"
	"github.com/berth-registry/berth/internal/db/schema"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/testbucket"
	"github.com/berth-registry/berth/storage/meta"
)

// several opens registries on one bucket and one database on PostgreSQL, each as a process of its
// own would.
type several struct {
	t        *testing.T
	bucket   bucket.Store
	database string
}

func newSeveral(t *testing.T) *several {
	b := testbucket.Open(t, "file://"+(&url.URL{Path: t.TempDir()}).EscapedPath())
	return &several{t: t, bucket: b, database: dbtest.Postgres(t)}
}

func (s *several) open(o Options) *testRegistry {
	s.t.Helper()
	rows := meta.New(dbtest.Open(s.t, s.database))
	o.CacheBytes = 1 << 20
	r, err := Open(s.t.Context(), rows, s.bucket, o)
	if err != nil {
		s.t.Fatal(err)
	}
	return &testRegistry{Registry: r, t: s.t, bucket: s.bucket, db: rows}
}

func (s *several) openAll(n int) []*testRegistry {
	s.t.Helper()
	all := make([]*testRegistry, n)
	for i := range all {
		all[i] = s.open(Options{})
	}
	return all
}

// race calls f for each registry at the same time and returns the errors.
func race(all []*testRegistry, f func(i int, tr *testRegistry) error) []error {
	errs := make([]error, len(all))
	start := make(chan struct{})
	var running sync.WaitGroup
	for i, tr := range all {
		running.Go(func() {
			<-start
			errs[i] = f(i, tr)
		})
	}
	close(start)
	running.Wait()
	return errs
}

// rounds is how often each race is run.
const rounds = 40

// TestRacingCommitsOfABlob checks that commits of one digest at the same time give the blob one set
// of objects, also where they heal it.
func TestRacingCommitsOfABlob(t *testing.T) {
	all := newSeveral(t).openAll(4)
	several := 0
	check := func(text string) {
		t.Helper()
		for i, err := range race(all, func(i int, tr *testRegistry) error {
			_, err := tr.PutBlob(t.Context(), callerOf(""), fmt.Sprint("repo", i), digest.FromString(text), chunk(text))
			return err
		}) {
			if err != nil {
				t.Fatalf("commit %d: %v", i, err)
			}
		}
		b, err := all[0].Blob(t.Context(), "repo0", digest.FromString(text))
		all[0].must(err)
		objects, err := all[0].db.BlobObjects(t.Context(), b.id)
		all[0].must(err)
		if len(objects) != 1 {
			several++
			return
		}
		all[0].wantBlob("repo3", text)
		all[0].must(all[0].tx(t.Context(), func(tx *meta.Tx) error {
			_, err := tx.RecordBlobDamaged(b.id, objects[0].Key, 1)
			return err
		}))
	}
	for i := range rounds {
		check(fmt.Sprint("blob ", i))
		check(fmt.Sprint("blob ", i)) // which is damaged now
	}
	if several > 0 {
		t.Errorf("%d of %d blobs have several sets of objects, or none", several, 2*rounds)
	}
}

// TestRacingConditionalPuts checks that of several writes of a tag under one condition, one wins.
func TestRacingConditionalPuts(t *testing.T) {
	all := newSeveral(t).openAll(4)
	all[0].push("a", "config")
	images := make([]*manifest.Manifest, len(all)+1)
	for i := range images {
		images[i] = all[0].image(fmt.Sprint(i), "config")
	}
	for name, cond := range map[string]Condition{
		"If-None-Match": {IfNoneMatch: true},
		"If-Match":      {IfMatch: []digest.Digest{images[len(all)].Digest}},
	} {
		wrong := 0
		for i := range rounds {
			tag := fmt.Sprint("t", i)
			if !cond.IfNoneMatch {
				all[0].put("a", images[len(all)], tag)
			}
			winners := 0
			for _, err := range race(all, func(i int, tr *testRegistry) error {
				return tr.PutManifest(t.Context(), "", "a", images[i], []string{tag}, cond)
			}) {
				switch {
				case err == nil:
					winners++
				case !errors.Is(err, ErrPrecondition):
					t.Fatal(err)
				}
			}
			if winners != 1 {
				wrong++
			}
			all[0].must(all[0].DeleteTag(t.Context(), "", "a", tag, Condition{}))
		}
		if wrong > 0 {
			t.Errorf("%s: %d of %d races have another number of winners than one", name, wrong, rounds)
		}
	}
}

// TestRacingDeleteOfABlob checks that a blob is not deleted while a manifest that links it arrives.
// Its digest is a manifest's too, so that no foreign key protects it.
func TestRacingDeleteOfABlob(t *testing.T) {
	all := newSeveral(t).openAll(2)
	lost := 0
	for i := range rounds {
		repo := fmt.Sprint("repo", i)
		all[0].push(repo, "config")
		both := all[0].image(fmt.Sprint(i), "config")
		all[0].put(repo, both)
		all[0].push(repo, string(both.Payload))
		image := all[0].image("image", string(both.Payload))
		errs := race(all, func(i int, tr *testRegistry) error {
			if i == 0 {
				return tr.DeleteBlob(t.Context(), "", repo, both.Digest)
			}
			return tr.PutManifest(t.Context(), "", repo, image, []string{"t"}, Condition{})
		})
		switch {
		case errs[0] == nil && errs[1] == nil:
			lost++
		case errs[0] != nil && !errors.Is(errs[0], ErrDenied), errs[1] != nil && !errors.Is(errs[1], ErrManifestBlobUnknown):
			t.Fatal(errs)
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d manifests lost their blob", lost, rounds)
	}
}

// TestFirstStarts checks that processes that start at the same time on a new database and bucket
// agree on one identity.
func TestFirstStarts(t *testing.T) {
	for range 5 {
		s := newSeveral(t)
		all := make([]*testRegistry, 8)
		for i := range all {
			all[i] = &testRegistry{db: meta.New(dbtest.Open(t, s.database))}
		}
		identities := map[schema.Registry]bool{}
		for _, err := range race(all, func(i int, tr *testRegistry) (err error) {
			tr.Registry, err = Open(t.Context(), tr.db, s.bucket, Options{})
			return err
		}) {
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, tr := range all {
			identities[tr.id] = true
		}
		marker, err := all[0].readMarker(t.Context())
		if len(identities) != 1 || !identities[marker] || err != nil {
			t.Errorf("the identities are %v, the bucket's is %v, %v", identities, marker, err)
		}
	}
}

// TestUploadOnSeveralRegistries checks that each request of an upload may reach another process.
func TestUploadOnSeveralRegistries(t *testing.T) {
	all := newSeveral(t).openAll(2)
	here, there := all[0], all[1]
	up, err := here.CreateUpload(t.Context(), callerOf("alice"), "a", "")
	here.must(err)
	for at, tr := range []*testRegistry{there, here} {
		c := chunk("0123456789")
		c.Offset = int64(10 * at)
		_, err := tr.Append(t.Context(), "alice", "a", up.ID, c)
		tr.must(err)
	}
	last := chunk("last")
	last.Offset = 20
	const text = "01234567890123456789last"
	_, err = here.Commit(t.Context(), "alice", "a", up.ID, digest.FromString(text), last)
	here.must(err)
	there.wantBlob("a", text)
	_, err = there.Commit(t.Context(), "alice", "a", up.ID, digest.FromString(text), emptyChunk)
	there.must(err)
}

// TestTagOnSeveralRegistries checks that a process answers what another one has acknowledged.
func TestTagOnSeveralRegistries(t *testing.T) {
	all := newSeveral(t).openAll(2)
	here, there := all[0], all[1]
	here.push("a", "config")
	for i := range 3 {
		image := here.image(fmt.Sprint(i), "config")
		here.put("a", image, "t")
		got, err := there.Manifest(t.Context(), "a", tag("t"))
		if err != nil || got.Digest != image.Digest {
			t.Errorf("the tag is %s, %v, moved to %s", got.Digest, err, image.Digest)
		}
		_, err = there.Manifest(t.Context(), "a", byDigest(image.Digest))
		there.must(err)
		here.must(here.DeleteManifest(t.Context(), "", "a", image.Digest))
		_, err = there.Manifest(t.Context(), "a", byDigest(image.Digest))
		there.want(ErrManifestUnknown, err)
	}
}

// TestHealedElsewhere checks that a process does not go on to call content damaged that another one
// has healed.
func TestHealedElsewhere(t *testing.T) {
	s := newSeveral(t)
	all := s.openAll(2)
	here, there := all[0], all[1]
	here.push("a", "config")
	image := here.image("", "config")
	here.put("a", image, "t")
	d := dbtest.Open(t, s.database)
	here.must(d.Tx(t.Context(), func(tx *db.Tx) error {
		_, err := tx.Exec(`UPDATE manifests SET payload = $1`, []byte("{}"))
		return err
	}))
	for range 2 {
		m, err := there.Manifest(t.Context(), "a", tag("t"))
		if err == nil {
			_, err = m.Payload(t.Context())
		}
		there.want(ErrManifestUnknown, err)
	}
	here.put("a", image, "t")
	there.wantPayload("a", "t", image)
}

// TestStartSparesRunningUploads checks that neither the start of a process nor its jobs take the
// object that another process is writing, even if the clock of the new one is fast.
func TestStartSparesRunningUploads(t *testing.T) {
	s := newSeveral(t)
	here := s.open(Options{})
	body, client := io.Pipe()
	done := make(chan error, 1)
	const text = "first and last"
	go func() {
		_, err := here.PutBlob(t.Context(), callerOf(""), "a", digest.FromString(text), Chunk{Body: body, Offset: -1, Length: -1})
		done <- err
	}()
	_, err := io.WriteString(client, "first")
	here.must(err)
	there := s.open(Options{Now: func() time.Time { return time.Now().Add(48 * time.Hour) }})
	there.must(there.expireUploads(t.Context()))
	there.must(there.deleteObjects(t.Context()))
	_, err = io.WriteString(client, " and last")
	here.must(err)
	here.must(client.Close())
	here.must(<-done)
	there.wantBlob("a", text)
}

// TestCommitWithoutItsObject checks that a session whose object is no longer its own makes no blob,
// as after a failover that lost the session's end.
func TestCommitWithoutItsObject(t *testing.T) {
	here := newSeveral(t).open(Options{})
	up, err := here.CreateUpload(t.Context(), callerOf("alice"), "a", "")
	here.must(err)
	_, err = here.Append(t.Context(), "alice", "a", up.ID, chunk("first"))
	here.must(err)
	here.must(here.tx(t.Context(), func(tx *meta.Tx) error { return tx.ReleaseUpload(up.ID, 1) }))
	_, err = here.Commit(t.Context(), "alice", "a", up.ID, digest.FromString("firstlast"), chunk("last"))
	here.want(ErrUploadUnknown, err)
	_, err = here.Blob(t.Context(), "a", digest.FromString("firstlast"))
	here.want(ErrBlobUnknown, err)
}

// countingBucket counts how often each key is deleted.
type countingBucket struct {
	bucket.Store
	mu      sync.Mutex
	deleted map[string]int // guarded by mu
}

func (b *countingBucket) Delete(ctx context.Context, keys ...string) error {
	b.mu.Lock()
	for _, key := range keys {
		b.deleted[key]++
	}
	b.mu.Unlock()
	return b.Store.Delete(ctx, keys...)
}

// TestDeletionWorkersShareTheWork checks that the workers of several processes do not delete the
// same objects, and that what a worker claimed and did not delete is due again.
func TestDeletionWorkersShareTheWork(t *testing.T) {
	s := newSeveral(t)
	counting := &countingBucket{Store: s.bucket, deleted: map[string]int{}}
	s.bucket = counting
	all := s.openAll(4)
	const objects = 500
	all[0].must(all[0].tx(t.Context(), func(tx *meta.Tx) error {
		for i := range objects {
			if err := tx.ReleaseObject(fmt.Sprintf("content/00/%032d-0", i), 1); err != nil {
				return err
			}
		}
		return nil
	}))
	// The claim of a process that dies.
	now := all[0].nowMicro()
	all[0].must(all[0].tx(t.Context(), func(tx *meta.Tx) error {
		claimed, err := tx.ClaimDeletable(now, now-1, 10)
		if len(claimed) != 10 {
			t.Errorf("claimed %d", len(claimed))
		}
		return err
	}))
	for _, err := range race(all, func(_ int, tr *testRegistry) error { return tr.deleteObjects(t.Context()) }) {
		if err != nil {
			t.Error(err)
		}
	}
	if most := slices.Max(slices.Collect(maps.Values(counting.deleted))); len(counting.deleted) != objects || most != 1 {
		t.Errorf("%d of %d objects were deleted, one of them %d times", len(counting.deleted), objects, most)
	}
	left, err := all[0].db.Deletable(t.Context(), 1<<60, 10)
	if len(left) != 0 || err != nil {
		t.Errorf("%d rows are left, %v", len(left), err)
	}
}

// TestTurns checks that a repository has maxDecisions turns, which are taken in order, that other
// repositories do not wait, and that the end of a context ends the waiting.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns turns
		var order []string
		releases := map[string]func(){}
		ended, cancel := context.WithCancel(t.Context())
		take := func(ctx context.Context, name, repo string) {
			go func() {
				done, err := turns.take(ctx, repo)
				if err != nil {
					done = func() {}
					name += " " + err.Error()
				}
				releases[name] = done
				order = append(order, name)
			}()
			synctest.Wait()
		}
		check := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := strings.Join(order, ", "); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		for i := range 4 {
			take(t.Context(), fmt.Sprint(i), "a")
		}
		take(ended, "gone", "a")
		take(t.Context(), "5", "a")
		take(t.Context(), "other", "b")
		check("0, 1, other")
		releases["1"]()
		check("0, 1, other, 2")
		cancel()
		check("0, 1, other, 2, gone context canceled")
		releases["0"]()
		check("0, 1, other, 2, gone context canceled, 3")
		releases["2"]()
		check("0, 1, other, 2, gone context canceled, 3, 5")
		for _, name := range []string{"3", "5", "other"} {
			releases[name]()
		}
		if len(turns.queues) != 0 {
			t.Errorf("left are the queues %v", turns.queues)
		}
	})
}
