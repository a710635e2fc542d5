package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/policy"
	"github.com/berth-registry/berth/auth/token"
	"github.com/berth-registry/berth/cmd/berth/config"
)

// CheckFiles reads the files that the configuration names, as serve does. The warnings are about
// settings that are valid but dangerous in practice.
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
		p, err := readPair(l.TLS)
		wrong = append(wrong, err)
		if err == nil {
			warnings = append(warnings, p.warnings(time.Now())...)
		}
	}
	return warnings, errors.Join(wrong...)
}

// A trusted network with a shorter prefix than these probably contains hosts that are no proxies.
const (
	minProxyBits4 = 24
	minProxyBits6 = 64
)

// proxyWarnings returns warnings about entries of http.trusted_proxies that contain more than
// proxies. Each host in such a network can claim any client address, which defeats rules on
// addresses and the limit on wrong passwords.
func proxyWarnings(proxies []netip.Prefix, rules *policy.Policy) []string {
	var warnings []string
	for _, proxy := range proxies {
		if bits := proxy.Bits(); proxy.Addr().Is4() && bits < minProxyBits4 || proxy.Addr().Is6() && bits < minProxyBits6 {
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
