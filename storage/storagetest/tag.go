package storagetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// testMovedTag checks that a tag points at the manifest that was put under it last.
func testMovedTag(s *suite) {
	s.push("a", "config")
	one, two := s.image("1", "config"), s.image("2", "config")
	s.put("a", one, "x", "y")
	s.put("a", two, "x")
	s.wantManifest("a", byTag("x"), two)
	s.wantManifest("a", byTag("y"), one)
	s.put("a", one, "x")
	s.wantManifest("a", byTag("x"), one)
	s.wantManifest("a", byDigest(two.Digest), two)
	s.wantTags("a", "", 10, "x", "y")
}

// testDeleteTag checks that a deleted tag leaves its manifest.
func testDeleteTag(s *suite) {
	ctx := s.Context()
	s.push("a", "config")
	m := s.image("", "config")
	s.put("a", m, "x", "y")
	s.must(s.DeleteTag(ctx, alice, "a", "x", storage.Condition{}))
	s.wantNoManifest("a", byTag("x"))
	s.wantManifest("a", byTag("y"), m)
	for _, repo := range []string{"a", "b"} {
		s.want(storage.ErrManifestUnknown, s.DeleteTag(ctx, alice, repo, "x", storage.Condition{}))
	}
	s.want(storage.ErrManifestUnknown, s.DeleteTag(ctx, alice, "b", "y", storage.Condition{}))
	s.must(s.DeleteTag(ctx, alice, "a", "y", storage.Condition{}))
	s.wantTags("a", "", 10)
	s.wantManifest("a", byDigest(m.Digest), m)
}

// testConditions checks writes with each condition on a tag that exists and on one that does not.
func testConditions(s *suite) {
	ctx := s.Context()
	s.push("a", "config")
	one, two := s.image("1", "config"), s.image("2", "config")
	put := func(m *manifest.Manifest, c storage.Condition) error {
		return s.PutManifest(ctx, alice, "a", m, []string{"t"}, c)
	}
	remove := func(c storage.Condition) error { return s.DeleteTag(ctx, alice, "a", "t", c) }
	is := func(m ...*manifest.Manifest) storage.Condition {
		digests := []digest.Digest{}
		for _, m := range m {
			digests = append(digests, m.Digest)
		}
		return storage.Condition{IfMatch: digests}
	}
	exists, absent := storage.Condition{IfMatchAny: true}, storage.Condition{IfNoneMatch: true}
	s.want(storage.ErrPrecondition, put(one, is(one)))
	s.want(storage.ErrPrecondition, put(one, exists))
	s.wantNoManifest("a", byTag("t"))
	s.must(put(one, absent))
	s.want(storage.ErrPrecondition, put(one, absent))
	for _, c := range []storage.Condition{absent, is(two), is()} {
		s.want(storage.ErrPrecondition, put(two, c))
	}
	s.wantManifest("a", byTag("t"), one)
	s.wantNoManifest("a", byDigest(two.Digest))
	s.must(put(two, is(one)))
	s.wantManifest("a", byTag("t"), two)
	s.must(put(two, exists))
	s.must(put(one, is(one, two)))
	s.must(put(two, is(one)))
	for _, c := range []storage.Condition{absent, is(one), is()} {
		s.want(storage.ErrPrecondition, remove(c))
	}
	s.wantManifest("a", byTag("t"), two)
	s.must(remove(is(two)))
	s.want(storage.ErrPrecondition, remove(exists))
	s.want(storage.ErrPrecondition, remove(is(two)))
	s.must(put(one, absent))
	s.must(remove(exists))
	s.wantNoManifest("a", byTag("t"))
}

// testConditionOfEachTag checks that no tag is set if one of several does not meet the condition.
func testConditionOfEachTag(s *suite) {
	ctx := s.Context()
	s.push("a", "config")
	one, two := s.image("1", "config"), s.image("2", "config")
	s.put("a", one, "x")
	for _, tags := range [][]string{{"x", "y"}, {"y", "x"}, {"y", "x", "z"}} {
		for _, c := range []storage.Condition{{IfNoneMatch: true}, {IfMatchAny: true}, {IfMatch: []digest.Digest{one.Digest}}} {
			s.want(storage.ErrPrecondition, s.PutManifest(ctx, alice, "a", two, tags, c))
			s.wantTags("a", "", 10, "x")
			s.wantManifest("a", byTag("x"), one)
			s.wantNoManifest("a", byDigest(two.Digest))
		}
	}
	s.must(s.PutManifest(ctx, alice, "a", two, []string{"y", "z"}, storage.Condition{IfNoneMatch: true}))
	s.wantManifest("a", byTag("z"), two)
}

// testAcknowledgedWrites checks that every read sees the writes that were acknowledged before it.
// Readers check that a tag never moves back while a writer moves it forward.
func testAcknowledgedWrites(s *suite) {
	ctx := s.Context()
	seed := uint64(time.Now().UnixNano())
	s.Logf("seed %d", seed)
	s.push("a", "config")
	images := map[digest.Digest]int{}
	var mu sync.Mutex // guards acknowledged
	acknowledged := -1
	done := make(chan struct{})
	const writes = 60
	for i := range writes {
		images[s.image(fmt.Sprint(i), "config").Digest] = i
	}
	var readers sync.WaitGroup
	for r := range 4 {
		random := rand.New(rand.NewPCG(seed, uint64(r)))
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				mu.Lock()
				least := acknowledged
				mu.Unlock()
				m, err := s.Manifest(ctx, "a", byTag("t"))
				if least >= 0 && err != nil {
					s.Errorf("after write %d the tag is not there: %v", least, err)
					return
				}
				if err == nil && images[m.Digest] < least {
					s.Errorf("after write %d the tag is that of write %d", least, images[m.Digest])
					return
				}
				time.Sleep(time.Duration(random.IntN(200)) * time.Microsecond)
			}
		})
	}
	for i := range writes {
		s.put("a", s.image(fmt.Sprint(i), "config"), "t")
		mu.Lock()
		acknowledged = i
		mu.Unlock()
	}
	close(done)
	readers.Wait()
	for i := range 20 { // each change is seen at once
		text := fmt.Sprint("blob ", i)
		d := digest.FromString(text)
		s.wantNoBlob("b", d)
		s.push("b", text)
		s.wantBlob("b", text)
		s.must(s.DeleteBlob(ctx, alice, "b", d))
		s.wantNoBlob("b", d)
	}
	s.must(s.DeleteTag(ctx, alice, "a", "t", storage.Condition{}))
	s.wantNoManifest("a", byTag("t"))
}
