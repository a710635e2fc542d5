package catalog

import (
	"context"
	"slices"
	"sort"

	"github.com/berth-registry/berth/auth"
)

// list is where the visible repositories of a View are. It consists of single names and of
// intervals, which contain no hidden names, or few. Only the ends of an interval are stored; a page
// queries the names in it. A list is immutable.
type list struct {
	version int64  // version of the repositories that the list includes
	spans   []span // sorted, without overlaps
	bytes   int    // approximate size of spans
}

// span is a single name, or an interval without its ends.
type span struct {
	start string // the name, or the exclusive start of an interval
	end   string // the exclusive end of an interval; "" for a single name
}

// spanBytes is the approximate size of a span without the text of its names.
const spanBytes = 48

func (s span) bytes() int { return spanBytes + len(s.start) + len(s.end) }

// covers reports whether the span is the name, or an interval that includes it.
func (s span) covers(name string) bool {
	return s.start == name && s.end == "" || s.start < name && name < s.end
}

// searchSpans returns the index of the first span that is not entirely before name.
func searchSpans(spans []span, name string) int {
	return sort.Search(len(spans), func(i int) bool {
		return spans[i].end > name || spans[i].end == "" && spans[i].start >= name
	})
}

// page returns at least the first n names that follow after, if there are so many.
func (l *list) page(ctx context.Context, lister Lister, v auth.View, after string, n int) ([]string, error) {
	names := make([]string, 0, min(n, queryPage))
	for _, s := range l.spans[searchSpans(l.spans, after):] {
		switch {
		case len(names) >= n:
			return names, nil
		case s.end != "":
			var err error
			if names, err = appendInterval(ctx, names, lister, v, span{max(s.start, after), s.end}, n); err != nil {
				return nil, err
			}
		case s.start > after:
			names = append(names, s.start)
		}
	}
	return names, nil
}

// appendInterval appends visible names of an interval until there are at least n.
func appendInterval(ctx context.Context, names []string, lister Lister, v auth.View, s span, n int) ([]string, error) {
	for factor := 1; len(names) < n; factor *= 2 { // ask for more if many names are hidden
		want := min(factor*(n-len(names)), queryPage)
		got, err := lister.Repositories(ctx, s.start, s.end, want)
		if err != nil {
			return nil, err
		}
		for _, name := range got {
			if v.Allows(name) {
				names = append(names, name)
			}
		}
		if len(got) < want {
			break
		}
		s.start = got[len(got)-1]
	}
	return names, nil
}

// withListed returns the list with repositories that were listed since. A visible name within an
// interval changes nothing. Nor does a hidden name outside of all intervals.
func (l *list) withListed(ctx context.Context, lister Lister, v auth.View, names []string) (*list, error) {
	spans := slices.Clone(l.spans)
	for _, name := range names {
		i := searchSpans(spans, name)
		within := i < len(spans) && spans[i].covers(name)
		switch visible := v.Allows(name); {
		case visible && !within:
			spans = slices.Insert(spans, i, span{start: name})
		case within && !visible:
			parts, err := splitSpan(ctx, lister, v, spans[i], name)
			if err != nil {
				return nil, err
			}
			spans = slices.Replace(spans, i, i+1, parts...)
		}
	}
	next := &list{version: l.version, spans: spans}
	for _, s := range spans {
		next.bytes += s.bytes()
	}
	return next, nil
}

// splitSpan returns the parts of an interval around a name that is hidden. It replaces a short part
// by single names. Otherwise hidden names could leave intervals without visible names, each of
// which costs a query.
func splitSpan(ctx context.Context, lister Lister, v auth.View, s span, name string) ([]span, error) {
	var parts []span
	for _, part := range []span{{s.start, name}, {name, s.end}} {
		names, err := lister.Repositories(ctx, part.start, part.end, minInterval)
		if err != nil {
			return nil, err
		}
		if len(names) == minInterval {
			parts = append(parts, part)
			continue
		}
		for _, name := range names {
			if v.Allows(name) {
				parts = append(parts, span{start: name})
			}
		}
	}
	return parts, nil
}
