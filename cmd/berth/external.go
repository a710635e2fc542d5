package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/policy"
)

// parseExternalURL reads a URL under which clients reach the registry and gives it the one form that comparisons with a
// request's Host need: lower case, without the port that its scheme implies, without a slash at its end.
func parseExternalURL(text string) (string, error) {
	refuse := func(reason string) (string, error) {
		return "", fmt.Errorf("http.external_url: %q %s; expected for example https://registry.example or http://10.0.0.7:5000", maskURL(text), reason)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return refuse("is not an https or http URL")
	case u.Hostname() == "" || strings.ContainsAny(u.Host, `"\,`):
		return refuse("has no host")
	case u.User != nil:
		return refuse("has a user in it, which everyone would be told")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse("has more than scheme, host and port: the registry is at /v2/ of its host")
	}
	host := strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, ":") // "https://registry.example:" has a port that is empty
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[u.Scheme])
	return u.Scheme + "://" + host, nil
}

// resolveExternalURLs checks http.external_url and gives each entry its one form.
func (l *loaded) resolveExternalURLs() error {
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

// serviceName is the registry's name in tokens and challenges.
func (c *Config) serviceName() string {
	if c.Auth.Service != "" {
		return c.Auth.Service
	}
	if len(c.HTTP.ExternalURL) > 0 {
		_, host, _ := strings.Cut(c.HTTP.ExternalURL[0], "://")
		return host
	}
	return "berth"
}

// parseProxies reads http.trusted_proxies.
func parseProxies(list []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	var wrong []error
	for _, text := range list {
		p, err := auth.ParseNetwork(text)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("http.trusted_proxies: %w", err))
			continue
		}
		prefixes = append(prefixes, p)
	}
	return prefixes, errors.Join(wrong...)
}

// A trusted network of more addresses than these has others in it than proxies.
const (
	proxyBits4 = 24
	proxyBits6 = 64
)

// proxyWarnings says which of http.trusted_proxies are so wide that others than proxies are in them:
// each address there can claim to be any other, so that rules on addresses and the count of wrong
// passwords mean nothing for it.
func (l *loaded) proxyWarnings(rules *policy.Policy) []string {
	proxies, _ := parseProxies(l.HTTP.TrustedProxies) // resolve has refused what is wrong
	var warnings []string
	for _, proxy := range proxies {
		if bits := proxy.Bits(); proxy.Addr().Is4() && bits < proxyBits4 || proxy.Addr().Is6() && bits < proxyBits6 {
			warnings = append(warnings, fmt.Sprintf("http.trusted_proxies: %s is a wide network, and every address in it can claim to be any other: name the proxies' own addresses", proxy))
		}
		for _, rule := range rules.Networks() {
			if proxy.Overlaps(rule.Network) {
				warnings = append(warnings, fmt.Sprintf("http.trusted_proxies: %s overlaps %s of rule %s, so that those for whom the rule is can claim to be any other address: name the proxies' own addresses", proxy, rule.Network, rule.Rule))
			}
		}
	}
	return warnings
}
