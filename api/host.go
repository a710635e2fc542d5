package api

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/berth-registry/berth/manifest"
)

// hosts decides for which names an API answers. A web page that has its own
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

// allow reports whether a request for the host, which may have a port, is
// answered.
func (h hosts) allow(host string) bool {
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

// trustedOrigins returns the check of requests that web pages have a browser make. Pages of the
// registry's own URLs may write, others may not: a browser adds the credentials that it has for the
// registry, or reaches an open one on loopback, whatever page asks it to. Clients that are no
// browsers send neither Origin nor Sec-Fetch-Site, and pass.
func (a *API) trustedOrigins() *http.CrossOriginProtection {
	check := http.NewCrossOriginProtection()
	for _, b := range a.bases {
		if err := check.AddTrustedOrigin(b.url); err != nil {
			a.log.Error("web pages of an external URL may not write", "url", b.url, "error", err)
		}
	}
	return check
}

// checkOrigin refuses writes that a web page of another origin has a browser make.
func (a *API) checkOrigin(r *request) error {
	if err := a.origins.Check(r.Request); err != nil {
		return manifest.Errorf(errCrossOrigin, "web pages of other origins may not write to this registry: expected an origin of http.external_url, or none")
	}
	return nil
}
