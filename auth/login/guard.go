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
	goodTTL = 5 * time.Minute // a password that was right is not worked out again for
	badTTL  = time.Minute     // a secret that was wrong is not, nor counted, for

	burst           = 10              // attempts that a network may fail in a row
	refill          = 6 * time.Second // after which it has another
	maxRefused      = 100             // refusals of a network out of attempts, until it has all of them back
	maxFingerprints = 16384           // remembered of each kind
	maxNetworks     = 16384           // networks whose attempts are counted
)

// guard counts the attempts of each network, and remembers for a while which secrets
// were right or wrong, by a hash whose key is in this process's memory alone.
type guard struct {
	key       [32]byte
	good, bad *lru.Cache[fingerprint, time.Time] // until when
	admitted  *lru.Cache[admission, time.Time]   // of those that are right
	now       func() time.Time

	mu         sync.Mutex
	allowances *lru.Cache[netip.Prefix, *allowance]
}

// proof is a name with a secret for it, and with the hash that it was compared to.
type fingerprint [sha256.Size]byte

// shown is a proof and where it came from.
type admission struct {
	fingerprint fingerprint
	network     netip.Prefix
}

// allowance is what attempts a network had left at a time.
type allowance struct {
	attempts float64
	refused  int // for want of attempts, since it had all of them
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

// proof of credentials against a hash, "" where there is none.
func (g *guard) fingerprint(c auth.Credentials, hash string) (p fingerprint) {
	mac := hmac.New(sha256.New, g.key[:])
	fmt.Fprintf(mac, "%s\x00%s\x00%s", c.Name, c.Secret, hash)
	mac.Sum(p[:0])
	return p
}

// recall returns what was found out about a proof a moment ago, wherever it came from. Where
// a right one is news it must cost an attempt: see known.
func (g *guard) recall(p fingerprint) (good, remembered bool) {
	now := g.now()
	if until, ok := g.good.Get(p); ok && now.Before(until) {
		return true, true
	}
	until, ok := g.bad.Get(p)
	return false, ok && now.Before(until)
}

// known returns what is known about a proof without an attempt. A right one is known only where it
// came from before. Otherwise a network that is out of attempts could try passwords until it hits
// one that was used elsewhere. It is not known to a network with so many refusals that someone
// there must be guessing.
func (g *guard) recallFrom(p fingerprint, from netip.Addr) (good, remembered bool) {
	if good, remembered = g.recall(p); !good {
		return false, remembered
	}
	until, ok := g.admitted.Get(admission{p, auth.ClientNetwork(from)})
	good = ok && g.now().Before(until) && !g.guessing(from)
	return good, good
}

// floods reports whether a network was refused too often while it was out of attempts.
func (g *guard) guessing(from netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.allowanceOf(from).refused >= maxRefused
}

// admit lets a right proof be known where it came from, for as long as it is remembered.
func (g *guard) admit(p fingerprint, from netip.Addr) {
	if until, ok := g.good.Get(p); ok {
		g.admitted.Add(admission{p, auth.ClientNetwork(from)}, until)
	}
}

// remember records what was found out.
func (g *guard) remember(p fingerprint, good bool) {
	if good {
		g.good.Add(p, g.now().Add(goodTTL))
		return
	}
	g.bad.Add(p, g.now().Add(badTTL))
}

// attempt takes one attempt from a network, or is a *auth.TooManyError.
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

// giveBack gives a network back an attempt that was none to count.
func (g *guard) refund(from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.allowanceOf(from)
	a.attempts = min(burst, a.attempts+1)
}

// allowance of a network now. g.mu is held.
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

// missed counts an attempt that could not succeed and returns its refusal.
func (g *guard) refuse(from netip.Addr) error {
	if err := g.attempt(from); err != nil {
		return err
	}
	return auth.ErrCredentials
}

// refused counts a refusal, once while the same credentials keep coming, and answers
// with it, or with *auth.TooManyError where the network had no attempt left.
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
