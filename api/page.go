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
	// queryPage is how many results one query of a list asks for; one more shows that others
	// follow.
	queryLimit = 1000
	// maxPage is the longest page that is sent; longer ones end with a Link.
	maxPage = 10_000
)

// page is which part of a list a request asks for.
type page struct {
	n    int // at most so many results, bounded by maxPage; -1 when it does not say
	last string
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
	// A page that is too long is as good as the longest: the rest is sent by Link.
	n, err := q.count()
	p.n = min(n, maxPage)
	return p, err
}

// count reads the parameter n, a number of results; -1 when absent.
func (p parameters) count() (int, error) {
	s, err := p.single("n", errPagination)
	if err != nil || !p.has("n") {
		return -1, err
	}
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return -1, manifest.Errorf(errPagination, "n is %q, expected a number from 0 up", web.Shorten(s))
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		n = math.MaxInt // nothing but the range can be wrong
	}
	return n, nil
}

// nextPage writes the Link to what follows (RFC 8288). The path has no
// character that would have to be escaped: names and digests have none.
func setNextLink(w *web.Response, path string, query url.Values) {
	w.Header().Set("Link", "<"+path+"?"+query.Encode()+`>; rel="next"`)
}
