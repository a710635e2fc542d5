package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/internal/host"
)

// parseExternalURL returns a URL of the registry in its canonical form: its host as host.Parse
// has it, without the default port of its scheme and without a slash at the end.
func parseExternalURL(text string) (string, error) {
	refuse := func(reason string) (string, error) {
		return "", fmt.Errorf("http.external_url: %q %s; expected for example https://registry.example or http://10.0.0.7:5000", MaskURL(text), reason)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return refuse("is not an https or http URL")
	case u.Hostname() == "":
		return refuse("has no host")
	case !isHost(u.Hostname()) || u.Port() != "" && !isPort(u.Port()):
		return refuse("has a host or port that is none")
	case u.User != nil:
		return refuse("has a user in it, which everyone would be told")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse("has more than scheme, host and port: the registry is at /v2/ of its host")
	}
	return u.Scheme + "://" + host.Parse(u.Scheme, u.Host).In(u.Scheme), nil
}

// resolveExternalURLs checks http.external_url and makes its entries canonical.
func (l *Loaded) resolveExternalURLs() error {
	var wrong []error
	for i, text := range l.HTTP.ExternalURL {
		clean, err := parseExternalURL(text)
		if err != nil {
			wrong = append(wrong, err)
			continue
		}
		l.HTTP.ExternalURL[i] = clean
	}
	return errors.Join(wrong...)
}

// checkHosts refuses http.strict_hosts where it would admit no client, or every one.
func (l *Loaded) checkHosts() error {
	switch {
	case !l.HTTP.StrictHosts:
		return nil
	case slices.Contains(l.HTTP.Hosts, AnyHost):
		return errors.New(
			"http.strict_hosts is true and http.hosts has \"*\", which admits every name: remove one of them")
	case len(l.HTTP.ExternalURL) == 0 && len(l.HTTP.Hosts) == 0:
		return errors.New("http.strict_hosts is true, and neither http.external_url nor http.hosts says which names are answered: set http.external_url")
	}
	return nil
}

// AnyHost is the entry of http.hosts that admits every name.
const AnyHost = "*"

// HostNames returns the names that an address with a check of hosts answers for: those of
// http.hosts and, with every port, of http.external_url.
func (c *Config) HostNames() []string {
	names := slices.Clone(c.HTTP.Hosts)
	for _, text := range c.HTTP.ExternalURL {
		if u, err := url.Parse(text); err == nil {
			names = append(names, u.Hostname())
		}
	}
	return names
}

// ServiceName returns the registry's name in tokens and challenges.
func (c *Config) ServiceName() string {
	if c.Auth.Service != "" {
		return c.Auth.Service
	}
	if len(c.HTTP.ExternalURL) > 0 {
		_, host, _ := strings.Cut(c.HTTP.ExternalURL[0], "://")
		return host
	}
	return "berth"
}

// resolveNetworks parses the settings that are lists of networks.
func (l *Loaded) resolveNetworks() error {
	var wrongProxies, wrongRedirects error
	l.Proxies, wrongProxies = parseNetworks("http.trusted_proxies", l.HTTP.TrustedProxies)
	l.RedirectNetworks, wrongRedirects = parseNetworks("storage.redirect.networks", l.Storage.Redirect.Networks)
	return errors.Join(wrongProxies, wrongRedirects)
}

func parseNetworks(key string, texts []string) (networks []netip.Prefix, err error) {
	var wrong []error
	for _, text := range texts {
		p, err := auth.ParseNetwork(text)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", key, err))
			continue
		}
		networks = append(networks, p)
	}
	return networks, errors.Join(wrong...)
}
