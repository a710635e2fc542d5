package web

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Origin is where a request comes from, and the scheme and host that its client used. Forwarding
// header fields count only if a trusted proxy sent them.
type Origin struct {
	Addr    netip.Addr // of the client; the zero Addr if it is unknown
	Scheme  string     // of the client's own connection: "http" or "https"
	Host    string     // as the client sent it, perhaps with a port
	Proxied bool       // a trusted proxy sent the request
}

// OriginOf returns the origin of a request. It reads X-Forwarded-For from the right, since each
// proxy appends the address of its peer, and stops at the first address that is not a trusted
// proxy's. Elements to the left of that one could be forged by any client.
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
	if v := strings.ToLower(lastElement(r.Header["X-Forwarded-Proto"])); v == "http" || v == "https" {
		o.Scheme = v
	}
	if v := lastElement(r.Header["X-Forwarded-Host"]); v != "" {
		o.Host = v
	}
	chain := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for _, hop := range slices.Backward(chain) {
		addr, ok := parseHop(hop)
		if !ok && strings.TrimSpace(hop) == "" && len(chain) == 1 {
			break // the field is missing: the proxy itself is the client
		}
		// If an element is no address the client is unknown. It must not pass for the proxy.
		if o.Addr = addr; !s.trusts(addr) {
			break
		}
	}
	return o
}

func (s *Server) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(s.options.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// lastElement returns the last element of a list in header fields, which the nearest proxy added.
func lastElement(values []string) string {
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// parseHop parses an element of X-Forwarded-For: an address with or without a port.
func parseHop(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if peer, err := netip.ParseAddrPort(s); err == nil {
		return peer.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	return addr.Unmap().WithZone(""), err == nil
}
