package conformance

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"sync"
)

// kind is what a promise is about.
type kind string

const (
	blobKind     kind = "blob"
	manifestKind kind = "manifest"
	tagKind      kind = "tag"
)

// place is something that a registry can be asked for: a blob or a manifest by
// its digest, or a tag.
type place struct {
	kind kind
	repo string
	name string // digest or tag
}

func (p place) String() string { return fmt.Sprintf("%s %s %s", p.kind, p.repo, p.name) }

// absent is the value of a place that holds nothing. Otherwise the value is a
// digest: the place's own, or the one that a tag points at.
const absent = ""

// write is one request that gives a place a value. It took effect, if it did, at
// some moment between start and end.
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
	lastRound int    // the round of the storm of the last write
}

// ledger remembers what a registry promised. A request that was acknowledged is
// a promise; one that had no answer, or that of a failing server, may or may not
// have happened. The ledger orders requests by its own clock, so a tag that
// several clients move at once has the values that its writes allow and no
// others.
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

// pending is a request on its way.
type pending struct {
	l     *ledger
	place place
	index int

	afterCut bool // it began after the power was cut
}

// begin notes that a request is about to be sent that gives the place a value.
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

// acknowledged notes that the request was answered as done.
func (p pending) acknowledged() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.l.clock++
	w := &p.l.places[p.place].writes[p.index]
	w.end, w.acked = p.l.clock, true
	p.l.acked[p.place.kind]++
}

// refused notes that the request was answered as not done. It leaves a write
// that was over before it began, which no place can hold.
func (p pending) refused() {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	w := &p.l.places[p.place].writes[p.index]
	w.value, w.end = "refused", -1
}

// couldFind reports whether the request may have found the place holding the value:
// whether another write of that value was not yet followed by an acknowledged one
// when this request began.
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

// describe keeps what a manifest has to be served as.
func (l *ledger) describe(p place, mediaType, subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.places[p].mediaType, l.places[p].subject = mediaType, subject
}

// settle begins a new round. It is called when the registry is dead: whatever
// was still without an answer has happened by now or never will.
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

// allowed lists the values that the place may hold while no request is under
// way: that of each write which no acknowledged write has followed.
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

// observed replaces the writes of a place by what it was seen to hold while no
// request was under way: from here on that, and nothing else, is promised.
func (l *ledger) observed(p place, value string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.places[p]
	l.clock++
	e.writes = []write{{value: value, start: l.clock, end: l.clock, acked: true}}
}

// list returns the places in a fixed order, those only that were written in the
// given round if it is not negative.
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

// as returns the media type and subject that the manifest was pushed with.
func (l *ledger) pushedAs(p place) (mediaType, subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.places[p].mediaType, l.places[p].subject
}

// String counts what was promised.
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
