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

	maxFingerprints = 16384 // in each cache
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
	allowances *lru.Cache[netip.Prefix, *allowance] // see attempt
}

// fingerprint is a MAC of a user name, a secret, and the hash that the secret is compared with.
type fingerprint [sha256.Size]byte

// admission is a good fingerprint, and a network that presented it.
type admission struct {
	fingerprint fingerprint
	network     netip.Prefix
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

// recall reports whether a fingerprint is remembered as good, from any network. A caller that would
// act on that must have taken an attempt for it: see recallFrom.
func (g *guard) recall(p fingerprint) bool {
	until, ok := g.good.Get(p)
	return ok && g.now().Before(until)
}

// recallBad reports whether a fingerprint is remembered as bad.
func (g *guard) recallBad(p fingerprint) bool {
	until, ok := g.bad.Get(p)
	return ok && g.now().Before(until)
}

// recallBadAs reports whether a fingerprint is remembered as bad, and then remembers another one
// until the same time.
func (g *guard) recallBadAs(p, other fingerprint) bool {
	until, ok := g.bad.Get(p)
	if !ok || !g.now().Before(until) {
		return false
	}
	g.bad.Add(other, until)
	return true
}

// recallFrom reports whether a fingerprint is remembered as good, at no cost of an attempt, for a
// network that presented it before. Otherwise a network without attempts could try passwords until
// it hits one that is in use elsewhere. presented is the fingerprint without the hash.
func (g *guard) recallFrom(p, presented fingerprint, from netip.Addr) bool {
	return g.presented(presented, from) && g.recall(p)
}

// presented reports whether a network presented credentials when they were good, and is not
// guessing. p is their fingerprint without the hash.
func (g *guard) presented(p fingerprint, from netip.Addr) bool {
	until, ok := g.admitted.Get(admission{p, auth.ClientNetwork(from)})
	return ok && g.now().Before(until) && !g.guessing(from)
}

// admit makes recallFrom accept credentials from this network. p is their fingerprint without the
// hash.
func (g *guard) admit(p fingerprint, from netip.Addr) {
	g.admitted.Add(admission{p, auth.ClientNetwork(from)}, g.now().Add(goodTTL))
}

// remember stores that a fingerprint is good.
func (g *guard) remember(p fingerprint) { g.good.Add(p, g.now().Add(goodTTL)) }

// rememberBad stores that a fingerprint is bad.
func (g *guard) rememberBad(p fingerprint) { g.bad.Add(p, g.now().Add(badTTL)) }

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
	if g.recallBad(p) {
		return refusal
	}
	if err := g.attempt(c.From); err != nil {
		return err
	}
	g.rememberBad(p)
	return refusal
}
