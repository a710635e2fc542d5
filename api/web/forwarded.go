package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Origin is where a request comes from and how its client wrote to us. What
// header fields say of it counts only where a trusted proxy wrote them.
type Origin struct {
	Addr    netip.Addr // of the client; the zero one where the connection has none
	Scheme  string     // "http" or "https", of the client's own connection
	Host    string     // with the port, where the client wrote one
	Proxied bool       // a trusted proxy forwarded it
}

// OriginOf finds where a request comes from. X-Forwarded-For is read from the
// right, where the proxies nearest to us wrote, up to the first address that is
// no trusted proxy's: what is left of it, any client may have written.
func (s *Server) OriginOf(r *http.Request) Origin {
	o := Origin{Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		o.Scheme = "https"
	}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.Addr = peer.Addr().Unmap().WithZone("")
	}
	if !s.trusts(o.Addr) {
		return o
	}
	o.Proxied = true
	if v := lastElement(r.Header["X-Forwarded-Proto"]); v == "http" || v == "https" {
		o.Scheme = v
	}
	if v := lastElement(r.Header["X-Forwarded-Host"]); v != "" {
		o.Host = v
	}
	chain := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(chain) {
		addr, ok := parseHop(hop)
		if !ok && strings.TrimSpace(hop) == "" && len(chain) == 1 {
			break // the proxy said nothing: it asks for itself
		}
		// Without an address the client is unknown: it is never the proxy's own.
		if o.Addr = addr; !s.trusts(addr) {
			break
		}
	}
	return o
}

func (s *Server) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(s.options.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
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
