package catalog

import "slices"

// minStretch is how many names a stretch has at least: fewer are kept one by one, since
// each stretch on a page costs a query.
const minStretch = 64

// endOfNames is greater than the name of any repository.
const endOfNames = "~"

// scan makes a list of all names, which it sees in their order.
//
// A stretch is a run of at least minStretch visible names. A list that would be too
// large, because visible and hidden names alternate, is made again with wider
// stretches: from two names on, with up to tolerance hidden ones between them. So its
// size is bounded, whatever the names are, and pages read up to about tolerance hidden
// rows for each name.
type scan struct {
	maxBytes  int
	version   int64 // of the list of repositories, when the scan began
	tolerance int
	done      bool

	last  string // the name that was seen last
	spans []span
	bytes int // of spans

	// The run that is open, if length is not 0.
	length int      // visible names
	run    []string // the first of them
	start  string   // the name before the first
	end    string   // the first of the hidden names since, if missed is not 0
	missed int      // hidden names since the last visible one
}

func newScan(version int64, maxBytes int) *scan {
	return &scan{version: version, maxBytes: maxBytes}
}

// see takes the names that follow on the last ones. Fewer than queryPage are the end.
func (s *scan) see(names []string, visible func(string) bool) {
	for _, name := range names {
		if visible(name) {
			s.show(name)
		} else {
			s.hide(name)
		}
		s.last = name
	}
	if s.done = len(names) < queryPage; s.done {
		s.close()
	}
	if s.bytes > s.maxBytes && len(s.spans) > 1 {
		*s = scan{version: s.version, maxBytes: s.maxBytes, tolerance: 3*s.tolerance + 1}
	}
}

func (s *scan) show(name string) {
	if s.length++; s.length == 1 {
		s.start = s.last
	}
	if s.length < s.minStretch() {
		s.run = append(s.run, name)
	}
	s.missed = 0
}

func (s *scan) hide(name string) {
	if s.length == 0 {
		return
	}
	if s.missed++; s.missed == 1 {
		s.end = name
	}
	if s.missed > s.tolerance {
		s.close()
	}
}

// close ends the run that is open.
func (s *scan) close() {
	switch {
	case s.length >= s.minStretch():
		if s.missed == 0 {
			s.end = endOfNames
		}
		s.add(span{s.start, s.end})
	default:
		for _, name := range s.run {
			s.add(span{start: name})
		}
	}
	s.length, s.missed, s.run = 0, 0, s.run[:0]
}

func (s *scan) add(one span) {
	s.spans = append(s.spans, one)
	s.bytes += one.bytes()
}

func (s *scan) minStretch() int {
	if s.tolerance > 0 {
		return 2
	}
	return minStretch
}

// list returns what the scan found, once it is done.
func (s *scan) list() *list {
	return &list{version: s.version, spans: slices.Clone(s.spans), bytes: s.bytes}
}
