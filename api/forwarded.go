package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// origin is where a request comes from and how its client wrote to us. What
// header fields say of it counts only where a trusted proxy wrote them.
type origin struct {
	addr    netip.Addr // of the client; the zero one where the connection has none
	scheme  string     // "http" or "https"
	host    string     // with the port, where the client wrote one
	proxied bool       // a trusted proxy forwarded it
}

// secure reports whether the client's own connection is encrypted, as far as
// anybody can tell.
func (o origin) secure() bool { return o.scheme == "https" }

// originOf finds where a request comes from. X-Forwarded-For is read from the
// right, where the proxies nearest to us wrote, up to the first address that is
// no trusted proxy's: what is left of it, anybody may have written.
func (a *API) originOf(r *http.Request) origin {
	o := origin{scheme: "http", host: r.Host}
	if r.TLS != nil {
		o.scheme = "https"
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.addr = peer.Addr().Unmap().WithZone("")
	}
	if !a.trusts(o.addr) {
		return o
	}
	o.proxied = true
	if s := lastElement(r.Header["X-Forwarded-Proto"]); s == "http" || s == "https" {
		o.scheme = s
	}
	if s := lastElement(r.Header["X-Forwarded-Host"]); s != "" {
		o.host = s
	}
	chain := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(chain) {
		addr, ok := parseHop(hop)
		if !ok && strings.TrimSpace(hop) == "" && len(chain) == 1 {
			break // the proxy said nothing: it asks for itself
		}
		// What it cannot be read from is nobody's address, least of all the proxy's own.
		if o.addr = addr; !a.trusts(addr) {
			break
		}
	}
	return o
}

func (a *API) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(a.options.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// lastElement is the last one of a list, the one that the nearest proxy wrote.
func lastElement(values []string) string {
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// parseHop reads an element of X-Forwarded-For: an address, with a port or without.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if peer, err := netip.ParseAddrPort(s); err == nil {
		return peer.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return addr.Unmap().WithZone(""), err == nil
}
