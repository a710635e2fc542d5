package conformance

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
)

// kind is the kind of a place.
type kind string

const (
	blobKind     kind = "blob"
	manifestKind kind = "manifest"
	tagKind      kind = "tag"
)

// place is what a client can ask a registry for: a blob or a manifest by its digest, or a tag.
type place struct {
	kind kind
	repo string
	name string // digest or tag
}

func (p place) String() string { return fmt.Sprintf("%s %s %s", p.kind, p.repo, p.name) }

// absent is the value of a place with nothing in it. Any other value is a digest: the place's own,
// or that of the tag's manifest.
const absent = ""

// write is a request that sets the value of a place. If it succeeded, it took effect at some moment
// between start and end.
type write struct {
	value      string
	start, end int64
	acked      bool
}

// promises are the writes of one place.
type promises struct {
	writes    []write
	mediaType string // of a manifest
	subject   string // of a manifest
	lastRound int    // the storm's round of the last write
}

// ledger records what a registry has promised. An acknowledged request is a promise. A request
// without an answer, or with a server error, may have taken effect or not. The ledger orders
// requests by its own clock. It knows therefore which values a tag may have after several clients
// moved it at the same time.
type ledger struct {
	mu     sync.Mutex
	clock  int64
	round  int
	places map[place]*promises
	acked  map[kind]int
	maybe  int
}

func newLedger() *ledger {
	return &ledger{places: map[place]*promises{}, acked: map[kind]int{}}
}

// pending is a request in progress.
type pending struct {
	l     *ledger
	place place
	index int

	afterCut bool // it began after the loss of power
}

// begin records that a request is about to set the value of a place.
func (l *ledger) begin(p place, value string) pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.places[p]
	if e == nil {
		e = &promises{writes: []write{{value: absent, acked: true}}}
		l.places[p] = e
	}
	l.clock++
	e.lastRound = l.round
	e.writes = append(e.writes, write{value: value, start: l.clock, end: math.MaxInt64})
	return pending{l: l, place: p, index: len(e.writes) - 1}
}

// acknowledged records that the request succeeded.
func (p pending) acknowledged() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.l.clock++
	w := &p.l.places[p.place].writes[p.index]
	w.end, w.acked = p.l.clock, true
	p.l.acked[p.place.kind]++
}

// refused records that the request was refused. Its write then ends before its start, so that it
// never took effect.
func (p pending) refused() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	w := &p.l.places[p.place].writes[p.index]
	w.value, w.end = "refused", -1
}

// couldFind reports whether the place may have had the value during the request: when the request
// began, no acknowledged write had followed another write of that value.
func (p pending) couldFind(value string) bool {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	writes := p.l.places[p.place].writes
	var last int64
	for _, w := range writes {
		if w.acked && w.end < writes[p.index].start {
			last = max(last, w.start)
		}
	}
	for i, w := range writes {
		if i != p.index && w.value == value && w.end >= last {
			return true
		}
	}
	return false
}

// describe records how a manifest must be served.
func (l *ledger) describe(p place, mediaType, subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places[p].mediaType, l.places[p].subject = mediaType, subject
}

// newRound begins a new round. The registry must not be running: a request that has no answer yet
// has taken effect by now or never will.
func (l *ledger) newRound() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	l.round++
	for _, e := range l.places {
		for i := range e.writes {
			if e.writes[i].end == math.MaxInt64 {
				e.writes[i].end = l.clock
				l.maybe++
			}
		}
	}
}

// allowed returns the values that the place may have while no request is in progress: those of all
// writes that no acknowledged write has followed.
func (l *ledger) allowed(p place) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.places[p]
	var last int64
	for _, w := range e.writes {
		if w.acked {
			last = max(last, w.start)
		}
	}
	var values []string
	for _, w := range e.writes {
		if w.end >= last && !slices.Contains(values, w.value) {
			values = append(values, w.value)
		}
	}
	return values
}

// observed replaces the writes of a place by the value that was read while no request was in
// progress. From then on only this value is promised.
func (l *ledger) observed(p place, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.places[p]
	l.clock++
	e.writes = []write{{value: value, start: l.clock, end: l.clock, acked: true}}
}

// list returns the places in a fixed order: all, or if round is not negative those that were
// written in that round.
func (l *ledger) list(round int) []place {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []place
	for p, e := range l.places {
		if round < 0 || e.lastRound == round {
			out = append(out, p)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].String() < out[j].String() })
	return out
}

// pushedAs returns the media type and subject of a pushed manifest.
func (l *ledger) pushedAs(p place) (mediaType, subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places[p].mediaType, l.places[p].subject
}

// String returns the numbers of promises.
func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	total := 0
	for _, k := range []kind{blobKind, manifestKind, tagKind} {
		fmt.Fprintf(&b, "%d %ss, ", l.acked[k], k)
		total += l.acked[k]
	}
	return fmt.Sprintf("%d acknowledged (%s%d undecided)", total, b.String(), l.maybe)
}
