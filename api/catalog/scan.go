package catalog

import "slices"

// minInterval is the minimum number of names in an interval. Fewer names are stored one by one,
// because each interval on a page costs a query.
const minInterval = 64

// endOfNames sorts after every name of a repository.
const endOfNames = "~"

// scan builds a list from all names in order.
//
// It makes an interval of each run of at least minInterval visible names. If visible and hidden
// names alternate, the list may become too large. Then the scan starts again with a tolerance: an
// interval has at least two visible names, and at most tolerance hidden ones between them. The
// tolerance grows with each restart. So the size of the list is bounded for any names, and a page
// reads at most about tolerance hidden names for each visible one.
type scan struct {
	maxBytes  int
	version   int64 // version of the repositories when the scan began
	tolerance int
	done      bool

	last  string // the previous name
	spans []span
	bytes int // approximate size of spans

	// The current run, if visible is not 0.
	visible int      // visible names
	first   []string // the first of them, fewer than minInterval
	start   string   // the name before the run
	end     string   // the first hidden name after the last visible one, if hidden is not 0
	hidden  int      // number of hidden names since the last visible one
}

func newScan(version int64, maxBytes int) *scan {
	return &scan{version: version, maxBytes: maxBytes}
}

// addNames adds the next names. Fewer than queryPage names are the last ones.
func (s *scan) addNames(names []string, visible func(string) bool) {
	for _, name := range names {
		if visible(name) {
			s.addVisible(name)
		} else {
			s.addHidden(name)
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

func (s *scan) addVisible(name string) {
	if s.visible++; s.visible == 1 {
		s.start = s.last
	}
	if s.visible < s.minInterval() {
		s.first = append(s.first, name)
	}
	s.hidden = 0
}

func (s *scan) addHidden(name string) {
	if s.visible == 0 {
		return
	}
	if s.hidden++; s.hidden == 1 {
		s.end = name
	}
	if s.hidden > s.tolerance {
		s.close()
	}
}

// close ends the current run.
func (s *scan) close() {
	switch {
	case s.visible >= s.minInterval():
		if s.hidden == 0 {
			s.end = endOfNames
		}
		s.add(span{s.start, s.end})
	default:
		for _, name := range s.first {
			s.add(span{start: name})
		}
	}
	s.visible, s.hidden, s.first = 0, 0, s.first[:0]
}

func (s *scan) add(one span) {
	s.spans = append(s.spans, one)
	s.bytes += one.bytes()
}

func (s *scan) minInterval() int {
	if s.tolerance > 0 {
		return 2
	}
	return minInterval
}

// list returns the result of a complete scan.
func (s *scan) list() *list {
	return &list{version: s.version, spans: slices.Clone(s.spans), bytes: s.bytes}
}
