package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/auth"
)

// The age of an issuer's keys decides how they are used:
//
//	0 ──────────── refreshAfter ──────────── maxStale ────────────▶
//	  used as they are   used if a fetch fails        not used
//
// A key id that is not among the keys also causes a fetch. Fetches are at least minFetchInterval
// apart.
const (
	// minFetchInterval is the minimum time between two attempts to fetch an issuer's keys,
	// successful or not. It is also the longest time until a new key of the issuer is known.
	minFetchInterval = 30 * time.Second
	// refreshAfter is the age at which keys are fetched again. A key that the issuer withdraws is
	// trusted for this long.
	refreshAfter = 15 * time.Minute
	// maxStale is the age at which keys are no longer used, if they cannot be fetched.
	maxStale = time.Hour
	// fetchTimeout is the maximum time of one attempt.
	fetchTimeout = 5 * time.Second
)

// issuerKeys are the keys of one issuer, which are fetched on demand. There is at most one attempt
// in minFetchInterval. One caller fetches, and the others wait for its result.
type issuerKeys struct {
	source   keySource
	now      func() time.Time
	log      *slog.Logger
	fetching chan struct{} // semaphore: full while a caller fetches
	state    atomic.Pointer[keyState]
}

// keyState is what is known of an issuer's keys. It is immutable.
type keyState struct {
	attemptedAt  time.Time // start of the last attempt
	err          error     // result of the last attempt
	keysURL      string    // from the discovery document
	discoveredAt time.Time // when the discovery document was read
	set          []jose.JSONWebKey
	fetchedAt    time.Time // when set was fetched
}

// keysOf returns the keys of a configured issuer. It also forgets issuers that are no longer
// configured.
func (s *Source) keysOf(issuer auth.Issuer) *issuerKeys {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := sourceOf(issuer)
	if r := s.keys[at]; r != nil {
		return r
	}
	configured := s.o.Issuers()
	maps.DeleteFunc(s.keys, func(p keySource, _ *issuerKeys) bool {
		return !slices.ContainsFunc(configured, func(issuer auth.Issuer) bool { return p == sourceOf(issuer) })
	})
	r := &issuerKeys{source: at, now: s.o.Now, log: s.o.Log, fetching: make(chan struct{}, 1)}
	r.state.Store(&keyState{})
	s.keys[at] = r
	return r
}

// byID returns the issuer's keys with an id. There is rarely more than one.
//
// Errors: errUnknownKey, auth.ErrUnavailable, auth.ErrMisconfigured.
func (r *issuerKeys) byID(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	p := r.state.Load()
	if p.needsFetch(id, r.now()) {
		select {
		case r.fetching <- struct{}{}:
			p = r.fetchOnce(ctx, id)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: waiting for the keys of %s: %w", auth.ErrUnavailable, r.source.url, ctx.Err())
		}
	}
	if found := p.byID(id, r.now()); len(found) > 0 {
		return found, nil
	}
	if errors.Is(p.err, errNeedsKeys) {
		return nil, fmt.Errorf("%w: keys of %s: %w", auth.ErrMisconfigured, r.source.url, p.err)
	}
	if p.err != nil {
		return nil, fmt.Errorf("%w: keys of %s: %w", auth.ErrUnavailable, r.source.url, p.err)
	}
	return nil, errUnknownKey
}

// fetchOnce fetches the keys, unless another caller has done so in the meantime. It then releases
// the semaphore.
func (r *issuerKeys) fetchOnce(ctx context.Context, id string) *keyState {
	defer func() { <-r.fetching }()
	p := r.state.Load()
	if !p.needsFetch(id, r.now()) {
		return p
	}
	// The result is for all waiting callers, so do not stop if this one's client leaves.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	next := *p
	next.attemptedAt = r.now()
	if next.err = r.fetch(ctx, &next); next.err != nil {
		r.log.Warn("the keys of an issuer cannot be fetched", "issuer", r.source.url, "error", next.err)
	} else {
		r.log.Debug("fetched the keys of an issuer", "issuer", r.source.url, "keys", len(next.set))
	}
	r.state.Store(&next)
	return &next
}

// needsFetch reports whether the keys should be fetched to find the key with an id.
func (p *keyState) needsFetch(id string, now time.Time) bool {
	if now.Sub(p.attemptedAt) < minFetchInterval {
		return false
	}
	return now.Sub(p.fetchedAt) >= refreshAfter || len(p.byID(id, now)) == 0
}

// byID returns the keys with an id, unless they are too old to be used.
func (p *keyState) byID(id string, now time.Time) []jose.JSONWebKey {
	if id == "" || now.Sub(p.fetchedAt) >= maxStale {
		return nil
	}
	var found []jose.JSONWebKey
	for _, key := range p.set {
		if key.KeyID == id {
			found = append(found, key)
		}
	}
	return found
}
