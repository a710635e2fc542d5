package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/policy"
	"github.com/berth-registry/berth/auth/token"
	"github.com/berth-registry/berth/cmd/berth/config"
)

// CheckFiles reads the files that the configuration names, as serve does. The warnings are of what
// is right by itself and dangerous in practice.
func CheckFiles(ctx context.Context, l *config.Loaded) (warnings []string, err error) {
	rules, err := policy.Open(l.Auth.Policy)
	wrong := []error{err}
	if err == nil {
		warnings = proxyWarnings(l.Proxies, rules.Current())
	}
	_, err = login.New(ctx, login.Options{Htpasswd: l.Auth.Htpasswd})
	wrong = append(wrong, err)
	if l.Auth.KeyFile != "" {
		_, err = token.Open(ctx, token.Options{
			KeyFile: l.Auth.KeyFile, Issuer: "berth", Service: l.ServiceName(), TTL: l.Auth.TokenTTL,
		})
		wrong = append(wrong, err)
	}
	if l.TLS.Certificate != "" {
		_, err = loadCertificate(l.TLS)
		wrong = append(wrong, err)
	}
	return warnings, errors.Join(wrong...)
}

// A trusted network of more addresses than these has others in it than proxies.
const (
	proxyBits4 = 24
	proxyBits6 = 64
)

// proxyWarnings says which of http.trusted_proxies are so wide that others than proxies are in
// them: each address there can claim to be any other, so that rules on addresses and the count of
// wrong passwords mean nothing for it.
func proxyWarnings(proxies []netip.Prefix, rules *policy.Policy) []string {
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
