package login

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/berth-registry/berth/auth"
)

const (
	goodTTL = 5 * time.Minute // how long a verified password is remembered
	badTTL  = time.Minute     // how long a refused secret is remembered, and not counted again

	burst           = 10              // failed attempts that a network may make in a row
	refill          = 6 * time.Second // time after which it regains one attempt
	maxRefused      = 100             // refusals after which a network without attempts counts as guessing
	maxFingerprints = 16384           // in each cache
	maxNetworks     = 16384           // in the cache of allowances
)

// guard counts failed attempts for each network, and remembers for a while which credentials were
// good or bad. It stores no secrets, only MACs of them under a key that exists in this process
// alone.
type guard struct {
	key       [32]byte
	good, bad *lru.Cache[fingerprint, time.Time] // the value is the end
	admitted  *lru.Cache[admission, time.Time]   // of good ones
	now       func() time.Time

	mu         sync.Mutex
	allowances *lru.Cache[netip.Prefix, *allowance]
}

// fingerprint is a MAC of a user name, a secret, and the hash that the secret is compared with.
type fingerprint [sha256.Size]byte

// admission is a good fingerprint, and a network that presented it.
type admission struct {
	fingerprint fingerprint
	network     netip.Prefix
}

// allowance is the number of attempts that a network had left at the time updated.
type allowance struct {
	attempts float64
	refused  int // attempts refused since the network last had all attempts
	updated  time.Time
}

func newGuard(now func() time.Time) (g *guard, err error) {
	g = &guard{now: now}
	if _, err := rand.Read(g.key[:]); err != nil {
		return nil, err
	}
	if g.good, err = lru.New[fingerprint, time.Time](maxFingerprints); err != nil {
		return nil, err
	}
	if g.bad, err = lru.New[fingerprint, time.Time](maxFingerprints); err != nil {
		return nil, err
	}
	if g.admitted, err = lru.New[admission, time.Time](maxFingerprints); err != nil {
		return nil, err
	}
	g.allowances, err = lru.New[netip.Prefix, *allowance](maxNetworks)
	return g, err
}

// fingerprint returns the fingerprint of credentials. hash is "" if there is none to compare with.
func (g *guard) fingerprint(c auth.Credentials, hash string) (p fingerprint) {
	mac := hmac.New(sha256.New, g.key[:])
	fmt.Fprintf(mac, "%s\x00%s\x00%s", c.Name, c.Secret, hash)
	mac.Sum(p[:0])
	return p
}

// recall returns what is remembered of a fingerprint, from any network. A caller that would act on
// a good one must have taken an attempt for it: see recallFrom.
func (g *guard) recall(p fingerprint) (good, remembered bool) {
	now := g.now()
	if until, ok := g.good.Get(p); ok && now.Before(until) {
		return true, true
	}
	until, ok := g.bad.Get(p)
	return false, ok && now.Before(until)
}

// recallFrom returns what is remembered of a fingerprint, at no cost of an attempt. A good one is
// only recalled for a network that presented it before. Otherwise a network without attempts could
// try passwords until it hits one that is in use elsewhere. It is not recalled either for a network
// that is guessing.
func (g *guard) recallFrom(p fingerprint, from netip.Addr) (good, remembered bool) {
	if good, remembered = g.recall(p); !good {
		return false, remembered
	}
	until, ok := g.admitted.Get(admission{p, auth.ClientNetwork(from)})
	good = ok && g.now().Before(until) && !g.guessing(from)
	return good, good
}

// guessing reports whether a network was refused so often while it had no attempts that a client
// there must be guessing passwords.
func (g *guard) guessing(from netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.allowanceOf(from).refused >= maxRefused
}

// admit makes recallFrom return a good fingerprint for this network.
func (g *guard) admit(p fingerprint, from netip.Addr) {
	if until, ok := g.good.Get(p); ok {
		g.admitted.Add(admission{p, auth.ClientNetwork(from)}, until)
	}
}

// remember stores the result of a verification.
func (g *guard) remember(p fingerprint, good bool) {
	if good {
		g.good.Add(p, g.now().Add(goodTTL))
		return
	}
	g.bad.Add(p, g.now().Add(badTTL))
}

// attempt takes one attempt from a network, or returns a *auth.TooManyError.
func (g *guard) attempt(from netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.allowanceOf(from)
	if a.attempts < 1 {
		a.refused++
		return &auth.TooManyError{Wait: time.Duration((1 - a.attempts) * float64(refill))}
	}
	a.attempts--
	return nil
}

// refund gives back an attempt that turned out not to be a failed one.
func (g *guard) refund(from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.allowanceOf(from)
	a.attempts = min(burst, a.attempts+1)
}

// allowanceOf returns the current allowance of a network. g.mu must be held.
func (g *guard) allowanceOf(from netip.Addr) *allowance {
	now := g.now()
	a, ok := g.allowances.Get(auth.ClientNetwork(from))
	if !ok {
		a = &allowance{attempts: burst, updated: now}
		g.allowances.Add(auth.ClientNetwork(from), a)
	}
	if elapsed := now.Sub(a.updated); elapsed > 0 {
		a.attempts = min(burst, a.attempts+float64(elapsed)/float64(refill))
		a.updated = now
		if a.attempts == burst {
			a.refused = 0
		}
	}
	return a
}

// refuse takes an attempt for credentials that cannot be valid, and returns auth.ErrCredentials, or
// a *auth.TooManyError if the network has no attempts.
func (g *guard) refuse(from netip.Addr) error {
	if err := g.attempt(from); err != nil {
		return err
	}
	return auth.ErrCredentials
}

// refuseRepeated returns refusal, or a *auth.TooManyError if the network has no attempts.
// Credentials that are repeated within badTTL take one attempt in all.
func (g *guard) refuseRepeated(c auth.Credentials, refusal error) error {
	p := g.fingerprint(c, "")
	if _, remembered := g.recall(p); remembered {
		return refusal
	}
	if err := g.attempt(c.From); err != nil {
		return err
	}
	g.remember(p, false)
	return refusal
}
