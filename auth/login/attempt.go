package login

import (
	"net/netip"
	"time"

	"github.com/berth-registry/berth/auth"
)

const (
	burst       = 10              // failed attempts that a client's network may make in a row
	refill      = 6 * time.Second // time after which it regains one attempt
	maxRefused  = 100             // refusals after which a network without attempts counts as guessing
	maxNetworks = 16384           // in the cache of allowances
)

// widerNetworks are the networks of an IPv6 client beside its /64, the widest first. One customer
// may have a /56 or a /48, and so any number of /64s. share is how many times the attempts of a /64
// such a network has.
var widerNetworks = []struct {
	bits  int
	share float64
}{{48, 16}, {56, 4}}

// countedNetwork is a network whose attempts are counted.
type countedNetwork struct {
	prefix netip.Prefix
	share  float64 // of burst and of refill's rate
}

// countedNetworks returns the networks in which the attempts of an address count, the widest first.
func countedNetworks(from netip.Addr) []countedNetwork {
	var list []countedNetwork
	narrow := auth.ClientNetwork(from)
	if narrow.IsValid() && narrow.Addr().Is6() {
		for _, w := range widerNetworks {
			list = append(list, countedNetwork{netip.PrefixFrom(narrow.Addr(), w.bits).Masked(), w.share})
		}
	}
	return append(list, ownNetwork(from))
}

// ownNetwork returns the narrowest network in which the attempts of an address count.
func ownNetwork(from netip.Addr) countedNetwork { return countedNetwork{auth.ClientNetwork(from), 1} }

// allowance is the number of attempts that a network had left at the time updated.
type allowance struct {
	attempts float64
	refused  int // attempts refused since the network last had all attempts
	updated  time.Time
}

// attempt takes one attempt from each network of an address, or returns a *auth.TooManyError if one
// of them has none. A network within one that has no attempts is not remembered. So the networks of
// one /48 do not push others out of the cache.
func (g *guard) attempt(from netip.Addr) error { return g.take(from, 1) }

// hasAttempts returns the error of attempt, and takes none.
func (g *guard) hasAttempts(from netip.Addr) error { return g.take(from, 0) }

func (g *guard) take(from netip.Addr, attempts float64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	networks := countedNetworks(from)
	taken := make([]*allowance, 0, len(networks))
	for _, n := range networks {
		a := g.allowanceOf(n)
		if a.attempts < 1 {
			g.countRefusal(ownNetwork(from))
			return &auth.TooManyError{Wait: time.Duration((1 - a.attempts) * float64(refill) / n.share)}
		}
		taken = append(taken, a)
	}
	for _, a := range taken {
		a.attempts -= attempts
	}
	return nil
}

// countRefusal counts a refusal on a client's own network, if that is remembered. If it was a wider
// network that had no attempts, it takes one: a network with all attempts counts as not guessing.
// g.mu must be held.
func (g *guard) countRefusal(own countedNetwork) {
	if !g.allowances.Contains(own.prefix) {
		return
	}
	a := g.allowanceOf(own)
	a.refused++
	if a.attempts >= 1 {
		a.attempts--
	}
}

// refund gives back an attempt that turned out not to be a failed one.
func (g *guard) refund(from netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range countedNetworks(from) {
		a := g.allowanceOf(n)
		a.attempts = min(burst*n.share, a.attempts+1)
	}
}

// guessing reports whether a client's own network was refused so often that a client there must be
// guessing passwords. Others in its wider networks do not count. A network that is not remembered
// may have been refused.
func (g *guard) guessing(from netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	own := ownNetwork(from)
	return !g.allowances.Contains(own.prefix) || g.allowanceOf(own).refused >= maxRefused
}

// allowanceOf returns the current allowance of a network. g.mu must be held.
func (g *guard) allowanceOf(n countedNetwork) *allowance {
	now := g.now()
	a, ok := g.allowances.Get(n.prefix)
	if !ok {
		a = &allowance{attempts: burst * n.share, updated: now}
		g.allowances.Add(n.prefix, a)
	}
	if elapsed := now.Sub(a.updated); elapsed > 0 {
		a.attempts = min(burst*n.share, a.attempts+n.share*float64(elapsed)/float64(refill))
		a.updated = now
		if a.attempts == burst*n.share {
			a.refused = 0
		}
	}
	return a
}
