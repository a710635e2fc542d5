// Package host compares the hosts of requests, URLs and settings. All code that asks whether two
// hosts are the same uses it.
package host

import (
	"net"
	"net/netip"
	"strings"
)

// Host is a host of a request, a URL or a setting in the form in which hosts are compared, by ==.
type Host struct {
	// Name is in lower case, without brackets and without the dot that may end a DNS name. An IP
	// address is in its canonical form (RFC 5952).
	Name string
	Port string // "" if none is known
}

// Parse returns the Host of a text with or without a port. If the text has none, the port is
// the default port of the scheme, or "" if the scheme is neither http nor https.
func Parse(scheme, text string) Host {
	name, port, err := net.SplitHostPort(text)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	}
	if port == "" {
		port = defaultPorts[scheme]
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if strings.Contains(name, ":") {
		if addr, err := netip.ParseAddr(name); err == nil {
			name = addr.String()
		}
	}
	return Host{name, port}
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// In returns the host as it stands in a URL of the scheme, without the scheme's default port.
func (h Host) In(scheme string) string {
	switch {
	case h.Port != "" && h.Port != defaultPorts[scheme]:
		return net.JoinHostPort(h.Name, h.Port)
	case strings.Contains(h.Name, ":"):
		return "[" + h.Name + "]"
	}
	return h.Name
}

// IsLoopback reports whether the name is one of this machine's own: localhost, a name below it
// (RFC 6761, 6.3), or a loopback address.
func (h Host) IsLoopback() bool {
	if h.Name == "localhost" || strings.HasSuffix(h.Name, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(h.Name)
	return err == nil && addr.Unmap().IsLoopback()
}
