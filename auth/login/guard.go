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
	rightFor = 5 * time.Minute // a password that was right is not worked out again for
	wrongFor = time.Minute     // a secret that was wrong is not, nor counted, for

	burst      = 10              // attempts that a network may fail in a row
	oneMore    = 6 * time.Second // after which it has another
	maxRefused = 100             // refusals of a network out of attempts, until it has all of them back
	maxProofs  = 16384           // remembered of each kind
	maxOrigins = 16384           // networks whose attempts are counted
)

// guard counts the attempts of each network, and remembers for a while which secrets
// were right or wrong, by a hash whose key is in this process's memory alone.
type guard struct {
	key          [32]byte
	right, wrong *lru.Cache[proof, time.Time] // until when
	shown        *lru.Cache[shown, time.Time] // of those that are right
	now          func() time.Time

	mu      sync.Mutex
	origins *lru.Cache[netip.Prefix, *allowance]
}

// proof is a name with a secret for it, and with the hash that it was compared to.
type proof [sha256.Size]byte

// shown is a proof and where it came from.
type shown struct {
	proof proof
	from  netip.Prefix
}

// allowance is what attempts a network had left at a time.
type allowance struct {
	attempts float64
	refused  int // for want of attempts, since it had all of them
	at       time.Time
}

func newGuard(now func() time.Time) (g *guard, err error) {
	g = &guard{now: now}
	if _, err := rand.Read(g.key[:]); err != nil {
		return nil, err
	}
	if g.right, err = lru.New[proof, time.Time](maxProofs); err != nil {
		return nil, err
	}
	if g.wrong, err = lru.New[proof, time.Time](maxProofs); err != nil {
		return nil, err
	}
	if g.shown, err = lru.New[shown, time.Time](maxProofs); err != nil {
		return nil, err
	}
	g.origins, err = lru.New[netip.Prefix, *allowance](maxOrigins)
	return g, err
}

// proof of credentials against a hash, "" where there is none.
func (g *guard) proof(c auth.Credentials, hash string) (p proof) {
	mac := hmac.New(sha256.New, g.key[:])
	fmt.Fprintf(mac, "%s\x00%s\x00%s", c.Name, c.Secret, hash)
	mac.Sum(p[:0])
	return p
}

// recall returns what was found out about a proof a moment ago, wherever it came from. Where
// a right one is news it must cost an attempt: see known.
func (g *guard) recall(p proof) (right, remembered bool) {
	now := g.now()
	if until, ok := g.right.Get(p); ok && now.Before(until) {
		return true, true
	}
	until, ok := g.wrong.Get(p)
	return false, ok && now.Before(until)
}

// known returns what is known about a proof without an attempt. A right one is known only where it
// came from before. Otherwise a network that is out of attempts could try passwords until it hits
// one that was used elsewhere. It is not known to a network with so many refusals that someone
// there must be guessing.
func (g *guard) known(p proof, from netip.Addr) (right, remembered bool) {
	if right, remembered = g.recall(p); !right {
		return false, remembered
	}
	until, ok := g.shown.Get(shown{p, auth.ClientNetwork(from)})
	right = ok && g.now().Before(until) && !g.floods(from)
	return right, right
}

// floods reports whether a network was refused too often while it was out of attempts.
func (g *guard) floods(from netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.allowance(from).refused >= maxRefused
}

// admit lets a right proof be known where it came from, for as long as it is remembered.
func (g *guard) admit(p proof, from netip.Addr) {
	if until, ok := g.right.Get(p); ok {
		g.shown.Add(shown{p, auth.ClientNetwork(from)}, until)
	}
}

// remember records what was found out.
func (g *guard) remember(p proof, right bool) {
	if right {
		g.right.Add(p, g.now().Add(rightFor))
		return
	}
	g.wrong.Add(p, g.now().Add(wrongFor))
}

// attempt takes one attempt from a network, or is a *auth.TooManyError.
func (g *guard) attempt(from netip.Addr) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.allowance(from)
	if a.attempts < 1 {
		a.refused++
		return &auth.TooManyError{Wait: time.Duration((1 - a.attempts) * float64(oneMore))}
	}
	a.attempts--
	return nil
}

// giveBack gives a network back an attempt that was none to count.
func (g *guard) giveBack(from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.allowance(from)
	a.attempts = min(burst, a.attempts+1)
}

// allowance of a network now. g.mu is held.
func (g *guard) allowance(from netip.Addr) *allowance {
	now := g.now()
	a, ok := g.origins.Get(auth.ClientNetwork(from))
	if !ok {
		a = &allowance{attempts: burst, at: now}
		g.origins.Add(auth.ClientNetwork(from), a)
	}
	if elapsed := now.Sub(a.at); elapsed > 0 {
		a.attempts = min(burst, a.attempts+float64(elapsed)/float64(oneMore))
		a.at = now
		if a.attempts == burst {
			a.refused = 0
		}
	}
	return a
}

// missed counts an attempt that could not succeed and returns its refusal.
func (g *guard) missed(from netip.Addr) error {
	if err := g.attempt(from); err != nil {
		return err
	}
	return auth.ErrCredentials
}

// refused counts a refusal, once while the same credentials keep coming, and answers
// with it, or with *auth.TooManyError where the network had no attempt left.
func (g *guard) refused(c auth.Credentials, refusal error) error {
	p := g.proof(c, "")
	if _, remembered := g.recall(p); remembered {
		return refusal
	}
	if err := g.attempt(c.From); err != nil {
		return err
	}
	g.remember(p, false)
	return refusal
}
