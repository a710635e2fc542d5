package api

import (
	"net"
	"net/netip"
	"strings"
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
