package web

import (
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/berth-registry/berth/internal/host"
)

// Hosts is a set of hosts, beside those of the loopback, that an address answers for. In DNS
// rebinding a web page makes its own name resolve to the address. The browser then sends that name
// as Host, by which it is refused.
type Hosts map[host.Host]bool

// NewHosts returns a set of hosts. A host without a port admits every port.
func NewHosts(hosts []string) Hosts {
	set := make(Hosts, len(hosts))
	for _, text := range hosts {
		set[host.Parse("", text)] = true
	}
	return set
}

// Allows reports whether a request with this scheme and Host is to be answered.
func (s Hosts) Allows(scheme, text string) bool {
	h := host.Parse(scheme, text)
	return h.IsLoopback() || s[h] || s[host.Host{Name: h.Name}]
}

// AllowsHost reports whether a request with this scheme and Host is to be answered. Without
// Options.CheckHost every host is allowed.
func (s *Server) AllowsHost(scheme, text string) bool {
	return !s.options.CheckHost || s.hosts.Allows(scheme, text)
}

// parseOrigin returns the origin of a web page, with its host in canonical form. It returns an
// error for other texts, such as "null".
func parseOrigin(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Host == "" {
		return nil, errors.New("not an origin: it has no host")
	}
	u.Host = host.Parse(u.Scheme, u.Host).In(u.Scheme)
	return u, nil
}

// newOriginCheck returns the check for CheckOrigin.
func (s *Server) newOriginCheck() *http.CrossOriginProtection {
	check := http.NewCrossOriginProtection()
	for _, text := range slices.Concat(s.options.Origins, s.options.CORS.Origins) {
		if text == AnyOrigin {
			continue // it lets pages read
		}
		origin, err := parseOrigin(text)
		if err == nil {
			err = check.AddTrustedOrigin(origin.String())
		}
		if err != nil {
			s.options.Log.Error("web pages of an origin may not write", "origin", text, "error", err)
		}
	}
	return check
}

// CheckOrigin returns an error for a cross-origin write, which a web page makes a browser send.
// Pages of Options.Origins, of CORS.Origins and of the request's own host may write. Others may
// not, because the browser adds the user's credentials for the registry, or reaches an open
// registry on loopback. Clients that are not browsers send neither Origin nor Sec-Fetch-Site, and
// pass. It also returns an error for a preflight of a page that Options.CORS does not let in.
func (s *Server) CheckOrigin(r *http.Request) error {
	if s.IsPreflight(r) && s.options.CORS.allows(r.Header.Get("Origin")) == "" {
		return errPreflight
	}
	return s.origins.Check(withCanonicalHosts(r))
}

var errPreflight = errors.New("the page's origin may not call this server")

// withCanonicalHosts returns what http.CrossOriginProtection reads of a request. It compares texts,
// so the hosts in Origin and Host have their canonical form.
func withCanonicalHosts(r *http.Request) *http.Request {
	text := r.Header.Get("Origin")
	if text == "" {
		return r
	}
	origin, err := parseOrigin(text)
	if err != nil {
		return r
	}
	return &http.Request{
		Method: r.Method,
		Host:   host.Parse(origin.Scheme, r.Host).In(origin.Scheme),
		Header: http.Header{"Origin": {origin.String()}, "Sec-Fetch-Site": r.Header["Sec-Fetch-Site"]},
	}
}
