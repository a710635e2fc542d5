package web

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// hosts is the set of host names that a server answers for. In DNS rebinding a web page makes its
// own name resolve to 127.0.0.1. The browser then sends that name as Host, by which it is refused.
type hosts struct {
	checked bool
	names   map[string]bool // in lower case, as configured: with or without a port
}

func newHosts(checked bool, names []string) hosts {
	h := hosts{checked: checked, names: make(map[string]bool, len(names))}
	for _, name := range names {
		h.names[strings.ToLower(name)] = true
	}
	return h
}

// AllowsHost reports whether a request with this Host, with or without a port, is to be answered.
// Without Options.CheckHost every host is allowed.
func (s *Server) AllowsHost(host string) bool { return s.hosts.allows(host) }

func (h hosts) allows(host string) bool {
	if !h.checked || host == "localhost" || strings.HasPrefix(host, "localhost:") {
		return true
	}
	host = strings.ToLower(host)
	name := host
	if n, _, err := net.SplitHostPort(host); err == nil {
		name = n
	} else {
		name = strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	}
	name = strings.TrimSuffix(name, ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") || h.names[host] || h.names[name] {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}

// newOriginCheck returns the check for CheckOrigin.
func (s *Server) newOriginCheck() *http.CrossOriginProtection {
	check := http.NewCrossOriginProtection()
	for _, origin := range slices.Concat(s.options.Origins, s.options.CORS.Origins) {
		if origin == AnyOrigin {
			continue // it lets pages read
		}
		if err := check.AddTrustedOrigin(origin); err != nil {
			s.options.Log.Error("web pages of an origin may not write", "origin", origin, "error", err)
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
	return s.origins.Check(r)
}

var errPreflight = errors.New("the page's origin may not call this server")
