package web

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Host is a host of a request, a URL or a setting in the form in which hosts are compared, by ==.
type Host struct {
	// Name is in lower case, without brackets and without the dot that may end a DNS name. An IP
	// address is in its canonical form (RFC 5952).
	Name string
	Port string // "" if none is known
}

// ParseHost returns the Host of a text with or without a port. If the text has none, the port is
// the default port of the scheme, or "" if the scheme is neither http nor https.
func ParseHost(scheme, text string) Host {
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

// Hosts is a set of hosts, beside those of the loopback, that an address answers for. In DNS
// rebinding a web page makes its own name resolve to the address. The browser then sends that name
// as Host, by which it is refused.
type Hosts map[Host]bool

// NewHosts returns a set of hosts. A host without a port admits every port.
func NewHosts(hosts []string) Hosts {
	set := make(Hosts, len(hosts))
	for _, text := range hosts {
		set[ParseHost("", text)] = true
	}
	return set
}

// Allows reports whether a request with this scheme and Host is to be answered.
func (s Hosts) Allows(scheme, host string) bool {
	h := ParseHost(scheme, host)
	return h.IsLoopback() || s[h] || s[Host{Name: h.Name}]
}

// AllowsHost reports whether a request with this scheme and Host is to be answered. Without
// Options.CheckHost every host is allowed.
func (s *Server) AllowsHost(scheme, host string) bool {
	return !s.options.CheckHost || s.hosts.Allows(scheme, host)
}

// parseOrigin returns the origin of a web page with its host in the form of Host.In, which is also
// the form that browsers send. It returns an error for other texts, such as "null".
func parseOrigin(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Host == "" {
		return nil, errors.New("not an origin: it has no host")
	}
	u.Host = ParseHost(u.Scheme, u.Host).In(u.Scheme)
	return u, nil
}

// newOriginCheck returns the check for CheckOrigin.
func (s *Server) newOriginCheck() *http.CrossOriginProtection {
	check := http.NewCrossOriginProtection()
	for _, text := range s.options.Origins {
		origin, err := parseOrigin(text)
		if err == nil {
			err = check.AddTrustedOrigin(origin.String())
		}
		if err != nil {
			s.options.Log.Error("web pages of an external URL may not write", "url", text, "error", err)
		}
	}
	return check
}

// CheckOrigin returns an error for a cross-origin write, which a web page makes a browser send.
// Pages of Options.Origins and of the request's own host may write. Others may not, because the
// browser adds the user's credentials for the registry, or reaches an open registry on loopback.
// Clients that are not browsers send neither Origin nor Sec-Fetch-Site, and pass.
func (s *Server) CheckOrigin(r *http.Request) error {
	origin, err := parseOrigin(r.Header.Get("Origin"))
	if err != nil {
		return s.origins.Check(r)
	}
	// The check compares texts, so it gets both in their canonical form.
	return s.origins.Check(&http.Request{
		Method: r.Method,
		Host:   ParseHost(origin.Scheme, r.Host).In(origin.Scheme),
		Header: http.Header{"Origin": {origin.String()}, "Sec-Fetch-Site": r.Header["Sec-Fetch-Site"]},
	})
}
