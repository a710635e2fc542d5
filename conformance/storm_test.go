package conformance

import (
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
)

// stormClients is the number of concurrent clients of a storm.
const stormClients = 8

// storm is a number of clients that use one registry through its failures, and record in a ledger
// what it promises.
type storm struct {
	*ledger
	t    *testing.T
	call *caller
	seed uint64

	// budget is how many bytes of large blobs may still be sent. After that all blobs are small.
	budget atomic.Int64
	number atomic.Uint64 // of the last content
	stop   atomic.Bool   // set when the clients are to begin no further request

	// failing is set while the registry's disk is known to be broken. The registry may then answer
	// with 5xx, which promises nothing. At other times such an answer is a fault.
	failing atomic.Bool

	// cut is set just before the power is cut. An acknowledgement after that is a promise only if
	// its request began after the cut. If the request was in progress at the cut, a real machine
	// would have been off before it could answer. (The simulated cut lets an fsync that waits for
	// the journal succeed, although the journal was not written.)
	cut atomic.Bool

	// mayLoseUploads is whether an open upload may be gone or shorter than acknowledged, as after a
	// loss of power.
	mayLoseUploads bool

	mu     sync.Mutex
	repos  map[string]*inventory
	faults []string
	broken [stormClients]*unfinished
}

// inventory is the content that a repository certainly has: acknowledged and never deleted.
type inventory struct {
	blobs     []content
	manifests []image
}

// image is an acknowledged manifest.
type image struct {
	digest    digest.Digest
	mediaType string
	payload   []byte
	index     bool
}

// unfinished is an upload that broke off before its closing PUT was sent.
type unfinished struct {
	repo     string
	session  session
	content  content
	reported int64 // bytes that the registry acknowledged
}

func stormRepos() []string {
	return []string{"alpine", "team/app", "team/app/cache", "a/b/c/d", "library/debian", "mirror/x_y-z.0"}
}

// unlimited is a setting without which the storm, which is one caller, could leave only a limited
// number of upload sessions open.
const unlimited = "BERTH_STORAGE_UPLOADS_PER_CALLER=0"

// newStorm prepares a storm and logs its seed.
func newStorm(t *testing.T, base string, seed uint64, budget int64) *storm {
	t.Logf("storm with seed %d", seed)
	s := &storm{t: t, ledger: newLedger(), call: newCaller(base), seed: seed, repos: map[string]*inventory{}}
	s.number.Store(seed << 32)
	s.budget.Store(budget)
	for _, r := range stormRepos() {
		s.repos[r] = &inventory{}
	}
	return s
}

// run runs the clients until s.stop is set. A client ends after its current request, so the
// registry must answer or end before run returns.
func (s *storm) run(round int) {
	s.stop.Store(false)
	var wg sync.WaitGroup
	for i := range stormClients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			s.client(i, rand.New(rand.NewPCG(s.seed, uint64(round)<<8|uint64(i))))
		}()
	}
	wg.Wait()
}

// client sends requests until the storm stops.
func (s *storm) client(i int, rng *rand.Rand) {
	if u := s.broken[i]; u != nil {
		s.broken[i] = nil
		s.resume(u)
	}
	repos := stormRepos()
	for !s.stop.Load() {
		repo := repos[rng.IntN(len(repos))]
		switch n := rng.IntN(100); {
		case n < 25:
			s.pushBlob(i, rng, repo, s.newContent(rng))
		case n < 35:
			s.mount(rng, repo)
		case n < 42:
			s.pushAgain(i, rng, repo)
		case n < 65:
			s.pushImage(i, rng, repo, []string{s.tag(rng)})
		case n < 75:
			s.pushIndex(i, rng, repo)
		case n < 87:
			s.moveTag(rng, repo)
		case n < 90:
			s.deleteTag(rng, repo)
		case n < 93:
			s.deleteManifest(i, rng, repo)
		case n < 95:
			s.deleteBlob(i, rng, repo)
		case n < 97:
			s.cancel(rng, repo)
		case n < 99:
			s.pull(rng, repo)
		default:
			s.mismatch(rng, repo)
		}
	}
}

// tag returns one of a few names, so that clients use the same tags.
func (s *storm) tag(rng *rand.Rand) string {
	if rng.IntN(4) == 0 {
		return "latest"
	}
	return fmt.Sprintf("v%d.%d", rng.IntN(3), rng.IntN(8))
}

// newContent returns a blob of 1 byte to 64 MiB, in three classes of size. Large ones are rare, and
// sizes are distributed logarithmically.
func (s *storm) newContent(rng *rand.Rand) content {
	const small, medium, large = 64 << 10, 4 << 20, 64 << 20
	lo, hi := 1.0, float64(small)
	switch n := rng.IntN(200); {
	case n == 0:
		lo, hi = medium, large
	case n < 20:
		lo, hi = small, medium
	}
	size := int64(math.Exp(math.Log(lo) + rng.Float64()*(math.Log(hi)-math.Log(lo))))
	if size > small && s.budget.Add(-size) < 0 {
		size = size % small
	}
	if rng.IntN(50) == 0 {
		size = 1
	}
	alg := digest.SHA256
	if rng.IntN(10) == 0 {
		alg = digest.SHA512
	}
	return newContent(s.number.Add(1), max(size, 1), alg)
}

// begin is begin of the ledger. It also records whether the power was cut before the request.
func (s *storm) begin(p place, value string) pending {
	begun := s.ledger.begin(p, value)
	begun.afterCut = s.cut.Load()
	return begun
}

// resolve records the outcome of a pending request by its answer. It reports whether the request
// was acknowledged. want is the status of success.
func (s *storm) resolve(p pending, a answer, want int) bool {
	switch {
	case a.status == want && s.cut.Load() && !p.afterCut:
		return false
	case a.status == want:
		// The status line is the promise, even if the rest of the answer is missing.
		p.acknowledged()
		return true
	case a.err != nil:
		return false
	case a.status >= 500:
		if !s.failing.Load() {
			s.fault("%s: answered %s", p.place, a)
		}
		return false
	}
	p.refused()
	s.fault("%s: answered %s, want %d", p.place, a, want)
	return false
}

// expect reports whether an answer has the wanted status. A wrong status is recorded as a fault.
func (s *storm) expect(a answer, want int, what string, args ...any) bool {
	if a.status == want && a.err == nil {
		return true
	}
	if a.err == nil && !(a.status >= 500 && s.failing.Load()) {
		s.fault("%s: answered %s, want %d", fmt.Sprintf(what, args...), a, want)
	}
	return false
}

// fault records a fault of the registry.
func (s *storm) fault(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

// report fails the test for the faults since the last report.
func (s *storm) report(when string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if i == 20 {
			s.t.Errorf("%s: and %d more", when, len(s.faults)-i)
			break
		}
		s.t.Errorf("%s: %s", when, f)
	}
	s.faults = nil
}

// addBlob adds an acknowledged blob to its repository's inventory.
func (s *storm) addBlob(repo string, c content) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.repos[repo].blobs, c) {
		s.repos[repo].blobs = append(s.repos[repo].blobs, c)
	}
}

// someBlob returns a random blob that the repository has.
func (s *storm) someBlob(rng *rand.Rand, repo string) (content, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.repos[repo].blobs
	if len(b) == 0 {
		return content{}, false
	}
	return b[rng.IntN(len(b))], true
}

// someImage returns a random manifest that the repository has.
func (s *storm) someImage(rng *rand.Rand, repo string, noIndex bool) (image, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.repos[repo].manifests
	for range 5 {
		if len(m) == 0 {
			break
		}
		if got := m[rng.IntN(len(m))]; !noIndex || !got.index {
			return got, true
		}
	}
	return image{}, false
}

// verdict counts the places that were read back.
type verdict struct {
	read, lost, wrong int
}

func (v *verdict) add(w verdict) {
	v.read, v.lost, v.wrong = v.read+w.read, v.lost+w.lost, v.wrong+w.wrong
}

// verify reads places back with several clients, and records lost and wrong ones as faults. No
// other request may be in progress. The values that it reads are promised from then on.
func (s *storm) verify(places []place) verdict {
	var mu sync.Mutex
	var v verdict
	work := make(chan place)
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for p := range work {
				one := s.verifyOne(p)
				mu.Lock()
				v.add(one)
				mu.Unlock()
			}
		}()
	}
	for _, p := range places {
		work <- p
	}
	close(work)
	wg.Wait()
	return v
}

// verifyOne reads one place back.
func (s *storm) verifyOne(p place) verdict {
	mediaType, subject := s.pushedAs(p)
	allowed := s.allowed(p)
	value, wrong, err := s.call.read(p, mediaType)
	switch {
	case err != nil:
		s.fault("%s: not read: %v", p, err)
		return verdict{read: 1, wrong: 1}
	case wrong != "":
		s.fault("%s: wrong: %s", p, wrong)
		return verdict{read: 1, wrong: 1}
	case value == absent && !slices.Contains(allowed, absent):
		s.fault("%s: lost", p)
		return verdict{read: 1, lost: 1}
	case !slices.Contains(allowed, value):
		s.fault("%s: holds %q, allowed is one of %q", p, value, allowed)
		return verdict{read: 1, wrong: 1}
	}
	s.observed(p, value)
	if value != absent && subject != "" {
		if a := s.call.do(request{method: "GET", path: "/v2/" + p.repo + "/referrers/" + subject}); !s.lists(a, p.name) {
			s.fault("%s: is not among the referrers of %s: %s", p, subject, a)
			return verdict{read: 1, lost: 1}
		}
	}
	return verdict{read: 1}
}

// sample returns at most n random places.
func sample(rng *rand.Rand, places []place, n int) []place {
	rng.Shuffle(len(places), func(i, j int) { places[i], places[j] = places[j], places[i] })
	return places[:min(n, len(places))]
}

// sha256Of returns the digest of a manifest.
func sha256Of(payload []byte) digest.Digest {
	return digest.NewDigestFromBytes(digest.SHA256, func() []byte { h := sha256.Sum256(payload); return h[:] }())
}

// lists reports whether a page of referrers has the digest.
func (s *storm) lists(a answer, name string) bool {
	return a.status == http.StatusOK && a.err == nil && slices.Contains(digestsIn(a.body), name)
}
