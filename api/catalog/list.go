package catalog

import (
	"context"
	"slices"
	"sort"

	"github.com/berth-registry/berth/auth"
)

// list is where the repositories of a View are: single names, and stretches in which
// nothing is hidden, or little. However many names a stretch has, only its ends are kept:
// a page reads its names from the rows. A list is immutable.
type list struct {
	version int64  // of the list of repositories that it knows
	spans   []span // sorted, none overlaps another
	bytes   int    // about what the spans take
}

// span is a single repository or a stretch.
type span struct {
	start string // the repository; or where the stretch begins, itself not in it
	end   string // where the stretch ends, itself not in it; "" for a repository
}

// spanBytes is about what a span takes beside the text of its names.
const spanBytes = 48

func (s span) bytes() int { return spanBytes + len(s.start) + len(s.end) }

// has reports whether the span is the repository or reaches over it.
func (s span) has(name string) bool {
	return s.start == name && s.end == "" || s.start < name && name < s.end
}

// find is the index of the first span that does not lie before name.
func find(spans []span, name string) int {
	return sort.Search(len(spans), func(i int) bool {
		return spans[i].end > name || spans[i].end == "" && spans[i].start >= name
	})
}

// page returns the first n names after one, or some more.
func (l *list) page(ctx context.Context, rows Rows, v auth.View, after string, n int) ([]string, error) {
	names := make([]string, 0, min(n, queryPage))
	for _, s := range l.spans[find(l.spans, after):] {
		switch {
		case len(names) >= n:
			return names, nil
		case s.end != "":
			var err error
			if names, err = appendStretch(ctx, names, rows, v, span{max(s.start, after), s.end}, n); err != nil {
				return nil, err
			}
		case s.start > after:
			names = append(names, s.start)
		}
	}
	return names, nil
}

// appendStretch appends visible names of a stretch, until there are n or some more.
func appendStretch(ctx context.Context, names []string, rows Rows, v auth.View, s span, n int) ([]string, error) {
	for factor := 1; len(names) < n; factor *= 2 { // where hidden names are among them
		want := min(factor*(n-len(names)), queryPage)
		got, err := rows.Repositories(ctx, s.start, s.end, want)
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

// with returns the list with repositories that were listed since. A visible one within a
// stretch changes nothing, nor does a hidden one outside of all.
func (l *list) with(ctx context.Context, rows Rows, v auth.View, names []string) (*list, error) {
	spans := slices.Clone(l.spans)
	for _, name := range names {
		i := find(spans, name)
		within := i < len(spans) && spans[i].has(name)
		switch visible := v.Allows(name); {
		case visible && !within:
			spans = slices.Insert(spans, i, span{start: name})
		case within && !visible:
			parts, err := split(ctx, rows, v, spans[i], name)
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

// split returns what is left of a stretch in which name is hidden. A part that is short
// becomes single names, so that hidden names do not leave stretches behind that have
// nothing in them and yet cost a query each.
func split(ctx context.Context, rows Rows, v auth.View, s span, name string) ([]span, error) {
	var parts []span
	for _, part := range []span{{s.start, name}, {name, s.end}} {
		names, err := rows.Repositories(ctx, part.start, part.end, minStretch)
		if err != nil {
			return nil, err
		}
		if len(names) == minStretch {
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
