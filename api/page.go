package api

import (
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/manifest"
)

const (
	// queryLimit is the maximum number of results of one query of a list.
	queryLimit = 1000
	// maxPage is the maximum number of entries of a page. A longer page is cut, with a Link to the
	// rest.
	maxPage = 10_000
)

// page is the part of a list that a request asks for.
type page struct {
	n    int    // maximum number of entries, at most maxPage; -1 when the request has none
	last string // entries follow this name
}

// page reads the parameters n and last.
func (r *request) page() (page, error) {
	p := page{n: -1}
	q, err := r.parameters()
	if err != nil {
		return p, err
	}
	if p.last, err = q.single("last", errPagination); err != nil {
		return p, err
	}
	n, err := q.count()
	p.n = min(n, maxPage)
	return p, err
}

// count reads the parameter n, a number of entries; -1 when it is absent or empty.
func (p parameters) count() (int, error) {
	s, err := p.single("n", errPagination)
	if err != nil || s == "" {
		return -1, err
	}
	if strings.Trim(s, "0123456789") != "" {
		return -1, manifest.Errorf(errPagination, "n is %q, expected a number from 0 up", web.Shorten(s))
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		n = math.MaxInt // out of range is the only error that is left
	}
	return n, nil
}

// setNextLink sets the Link to the next page (RFC 8288). No character of the path needs escaping:
// names and digests have none.
func setNextLink(w *web.Response, path string, query url.Values) {
	w.Header().Set("Link", "<"+path+"?"+query.Encode()+`>; rel="next"`)
}
