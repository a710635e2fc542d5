package config

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/berth-registry/berth/internal/db/postgres"
)

// textGrammars returns the grammar of each setting that is a text or a list of texts, unless it has
// a set of values. A grammar returns an error that continues the sentence "KEY: VALUE (ORIGIN) …".
// What several settings or a parsed form decide is checked by resolve.
func textGrammars() map[string]func(string) error {
	return map[string]func(string) error{
		"data":                      checkPath,
		"http.addr":                 checkText,
		"http.external_url":         checkText,
		"http.trusted_proxies":      checkText,
		"http.hosts":                checkHost,
		"http.cors.origins":         checkOrigin,
		"storage.redirect.networks": checkText,
		"tls.certificate":           checkPath,
		"tls.key":                   checkPath,
		"auth.policy":               checkPath,
		"auth.htpasswd":             checkPath,
		"auth.service":              checkService,
		"auth.key_file":             checkPath,
		"audit.file":                checkPath,
		"storage.bucket":            checkStoreURL,
		"database.url":              checkDatabaseURL,
		"database.password_file":    checkPath,
		"database.migrate_url":      checkText,
		"debug.addr":                checkText,
	}
}

// checkTexts checks the texts of a setting in c by its grammar. It returns the first wrong one.
func (s Setting) checkTexts(c *Config) (item string, err error) {
	check := textGrammars()[s.Key]
	if check == nil {
		return "", nil
	}
	switch v := s.field(c).Interface().(type) {
	case string:
		if v != "" { // not set
			return v, check(v)
		}
	case []string:
		for _, item := range v {
			if item == "" {
				return item, errors.New("is empty")
			}
			if err := check(item); err != nil {
				return item, err
			}
		}
	}
	return "", nil
}

// checkText refuses what is wrong in a text of any setting.
func checkText(s string) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
		return errors.New("has control characters or line breaks")
	case strings.TrimSpace(s) != s:
		return errors.New("has blanks at an end")
	case strings.Contains(s, "${"):
		return errors.New("has ${, but variables are not expanded: write out what is meant, or set the variable " + envPrefix + "… of this setting")
	}
	return nil
}

// checkPath checks the name of a file or directory.
func checkPath(s string) error {
	if err := checkText(s); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(s, "~"):
		return errors.New(
			"begins with ~, which only a shell expands: write the whole path, or ./~ for a name that begins so")
	case strings.HasPrefix(s, "$"):
		return errors.New(
			"begins with $, but variables are not expanded: write the whole path, or ./$ for a name that begins so")
	case strings.Contains(s, "://"):
		return errors.New("is a URL: expected a path, such as /var/lib/berth")
	}
	return nil
}

// checkStoreURL checks what the URLs of buckets and databases have in common.
func checkStoreURL(s string) error {
	if err := checkText(s); err != nil {
		return err
	}
	if strings.Contains(s, "/~/") || strings.Contains(s, ":~") {
		return errors.New("has a ~, which only a shell expands: write the whole path")
	}
	return nil
}

// checkDatabaseURL refuses parameters of SQLite, which would become part of the file's name. A ? in
// the name of the data directory is no parameter.
func checkDatabaseURL(s string) error {
	if strings.HasPrefix(s, "sqlite:") && strings.Contains(s, "?") {
		return errors.New("has a ?, but a database has no parameters: expected sqlite:/path/to/file")
	}
	if postgres.IsURL(s) {
		return checkText(s)
	}
	return checkStoreURL(s)
}

// checkService checks the name of the registry in tokens. It stands in quotes in challenges, which
// some clients split at commas.
func checkService(s string) error {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || strings.ContainsRune(`"\,`, r) }) {
		return errors.New(`is not a name of ASCII characters without ", \ and comma, such as registry.example`)
	}
	return checkText(s)
}

// checkHost checks an entry of http.hosts: "*", or a host with or without a port.
func checkHost(s string) error {
	if s == "*" {
		return nil
	}
	if strings.Contains(s, "/") {
		return errors.New("is more than a host: expected for example registry.lan or registry.lan:5000")
	}
	if strings.Contains(s, "*") {
		return errors.New(`is no name: "*" admits every name only if it stands alone`)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil { // without a port
		host, port, err = net.SplitHostPort(s + ":1")
	}
	if err != nil { // an IPv6 address without brackets
		host, port = s, "1"
	}
	if !isHost(host) || !isPort(port) || s[0] == '[' && !strings.Contains(host, ":") {
		return errors.New("is not a host, such as registry.lan, registry.lan:5000, 10.0.0.7 or [fd00::7]:5000; names in other scripts are written in their xn-- form")
	}
	return nil
}

// isHost reports whether s is an IP address or a name of DNS, with or without the root's dot. A
// name whose last label is a number is none: it is an address with a mistake in it (RFC 3696,
// section 2).
func isHost(s string) bool {
	if addr, err := netip.ParseAddr(s); err == nil {
		return addr.Zone() == ""
	}
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, func(r rune) bool { return !isNameRune(r) }) {
			return false
		}
	}
	_, err := strconv.ParseUint(labels[len(labels)-1], 10, 64)
	return len(s) <= 253 && err != nil
}

// isNameRune reports whether r may be in a label. Underscores are in the names of containers.
func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
}

// isPort reports whether s is a port that a client can connect to, without leading zeros.
func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && s[0] != '0'
}
