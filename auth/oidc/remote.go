package oidc

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/berth-registry/berth/auth"
)

const (
	// betweenFetches is the least time between two attempts to fetch an issuer's keys,
	// whatever came of the first. A key that an issuer signs with from now on is known
	// after it at the latest.
	betweenFetches = 30 * time.Second
	// freshFor is how long keys are used without being fetched again, and how long one
	// that was withdrawn goes on being trusted.
	freshFor = 15 * time.Minute
	// keptFor is how long keys are used when they cannot be fetched.
	keptFor = time.Hour
	// fetchTime is the most time that an attempt takes.
	fetchTime = 5 * time.Second
)

// remote is the keys of one issuer, fetched when they are needed: at most once in
// betweenFetches, by one caller at a time, while the others wait for it.
type remote struct {
	place place
	now   func() time.Time
	log   *slog.Logger
	turn  chan struct{} // full while somebody fetches
	last  atomic.Pointer[published]
}

// published is what is known of an issuer. It does not change.
type published struct {
	tried      time.Time // when the last attempt began
	err        error     // what came of it
	keysURL    string    // from the discovery document
	discovered time.Time // when that was read
	set        []jose.JSONWebKey
	fetched    time.Time // when set was read
}

// remote returns the keys of a configured issuer, and forgets those of issuers that
// no longer are.
func (s *Source) remote(is auth.Issuer) *remote {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := place{is.URL, is.CA}
	if r := s.remotes[at]; r != nil {
		return r
	}
	configured := s.o.Issuers()
	maps.DeleteFunc(s.remotes, func(p place, _ *remote) bool {
		return !slices.ContainsFunc(configured, func(is auth.Issuer) bool { return p == place{is.URL, is.CA} })
	})
	r := &remote{place: at, now: s.o.Now, log: s.o.Log, turn: make(chan struct{}, 1)}
	r.last.Store(&published{})
	s.remotes[at] = r
	return r
}

// keys returns the keys that the issuer publishes by an id; there is hardly ever
// more than one.
// Errors: errUnknownKey, auth.ErrUnavailable.
func (r *remote) keys(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	p := r.last.Load()
	if p.due(id, r.now()) {
		select {
		case r.turn <- struct{}{}:
			p = r.fetchInTurn(ctx, id)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: waiting for the keys of %s: %w", auth.ErrUnavailable, r.place.url, ctx.Err())
		}
	}
	if found := p.find(id, r.now()); len(found) > 0 {
		return found, nil
	}
	if p.err != nil {
		return nil, fmt.Errorf("%w: keys of %s: %w", auth.ErrUnavailable, r.place.url, p.err)
	}
	return nil, errUnknownKey
}

// fetchInTurn fetches, unless another has done so since it seemed due, and gives
// the turn back.
func (r *remote) fetchInTurn(ctx context.Context, id string) *published {
	defer func() { <-r.turn }()
	p := r.last.Load()
	if !p.due(id, r.now()) {
		return p
	}
	// For all who wait, whether or not this one's client stays.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)
	defer cancel()
	next := *p
	next.tried = r.now()
	if next.err = r.fetch(ctx, &next); next.err != nil {
		r.log.Warn("the keys of an issuer cannot be fetched", "issuer", r.place.url, "error", next.err)
	} else {
		r.log.Debug("fetched the keys of an issuer", "issuer", r.place.url, "keys", len(next.set))
	}
	r.last.Store(&next)
	return &next
}

// due says whether it is time to fetch, for the sake of a key.
func (p *published) due(id string, now time.Time) bool {
	if now.Sub(p.tried) < betweenFetches {
		return false
	}
	return now.Sub(p.fetched) >= freshFor || len(p.find(id, now)) == 0
}

// find returns the keys with an id, while they may be used.
func (p *published) find(id string, now time.Time) []jose.JSONWebKey {
	if id == "" || now.Sub(p.fetched) >= keptFor {
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
