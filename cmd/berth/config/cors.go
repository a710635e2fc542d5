package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// anyOrigin stands for all origins in http.cors.origins.
const anyOrigin = "*"

// checkCORS checks the grammar of http.cors.origins, and that http.cors.credentials goes with it.
func (l *Loaded) checkCORS() error {
	c := l.HTTP.CORS
	var wrong []error
	for _, origin := range c.Origins {
		if origin == anyOrigin {
			continue
		}
		if err := checkOrigin(origin); err != nil {
			wrong = append(wrong, fmt.Errorf("http.cors.origins: %q %w", MaskURL(origin), err))
		}
	}
	switch {
	case c.Credentials && len(c.Origins) == 0:
		wrong = append(wrong, errors.New("http.cors.credentials is set and http.cors.origins is not: name the origins whose pages it is for"))
	case c.Credentials && slices.Contains(c.Origins, anyOrigin):
		wrong = append(wrong, errors.New(`http.cors.credentials does not go with "*" in http.cors.origins: every web page could read with its visitor's password; name the origins instead of "*"`))
	}
	return errors.Join(wrong...)
}

// checkOrigin checks that text is an origin in the form in which browsers send it (RFC 6454, 6.2),
// since it is compared with theirs byte by byte. The error completes the sentence "text …".
func checkOrigin(text string) error {
	const want = "expected scheme, host and port as browsers send them, such as https://ui.example or http://10.0.0.7:8080"
	clean, err := parseExternalURL(text)
	u, parseErr := url.Parse(clean)
	switch {
	case text == "null":
		return errors.New("is the origin of every sandboxed frame and local file, and cannot be let in: serve the page from an origin of its own")
	case err != nil || parseErr != nil:
		return errors.New("is not an origin: " + want)
	case !isBrowserHost(u.Hostname()) || !isPort(u.Port()):
		return errors.New("has a host or port that no browser sends (patterns do not work, and other letters than ASCII are written as xn--…): " + want)
	case clean != text:
		return fmt.Errorf("is not as browsers send it: expected %s", clean)
	}
	return nil
}

// isBrowserHost reports whether a host in lower case has the form in which browsers send it.
func isBrowserHost(host string) bool {
	if strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.String() == host
	}
	return strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_") == ""
}

// isPort reports whether s is a port without leading zeros, or none.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return s == "" || err == nil && strconv.FormatUint(n, 10) == s
}
