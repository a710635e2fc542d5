package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hosts decides for which names a server answers. A web page that has its own
// name resolve to 127.0.0.1 sends that name as Host, and so is told apart.
type hosts struct {
	checked bool
	names   map[string]bool // lower case, with and without port
}

func newHosts(checked bool, names []string) hosts {
	h := hosts{checked: checked, names: make(map[string]bool, len(names))}
	for _, name := range names {
		h.names[strings.ToLower(name)] = true
	}
	return h
}

// AllowsHost reports whether a request for the host, which may have a port, is answered: always
// without Options.CheckHost.
func (s *Server) AllowsHost(host string) bool { return s.hosts.allows(host) }

// allow reports whether a request for the host, which may have a port, is
// answered.
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

// trustedOrigins returns the check of requests that web pages have a browser make.
func (s *Server) newOriginCheck() *http.CrossOriginProtection {
	check := http.NewCrossOriginProtection()
	for _, origin := range s.options.Origins {
		if err := check.AddTrustedOrigin(origin); err != nil {
			s.options.Log.Error("web pages of an external URL may not write", "url", origin, "error", err)
		}
	}
	return check
}

// CheckOrigin returns an error for a write that a web page of another origin has a browser make.
// Pages of Options.Origins and of the request's own host may write, others may not: a browser adds
// the credentials that it has for the registry, or reaches an open one on loopback, whatever page
// asks it to. Clients that are no browsers send neither Origin nor Sec-Fetch-Site, and pass.
func (s *Server) CheckOrigin(r *http.Request) error { return s.origins.Check(r) }
