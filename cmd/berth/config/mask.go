package config

import (
	"net/url"
	"strings"

	"github.com/berth-registry/berth/internal/db/postgres"
)

const masked = "********"

// MaskURL returns a URL without its secrets: the password and the values of query parameters with
// names of secrets are masked. A text that is not a URL is masked whole, since a password may be
// anywhere in it.
func MaskURL(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Scheme != "file" && strings.Contains(u.Opaque+u.Path+u.Fragment, "@") {
		return masked // an @ in the path may be the end of a password that contains a slash
	}
	if u.RawQuery != "" {
		head, tail, _ := strings.Cut(s, "?")
		s = head + "?" + strings.Replace(tail, u.RawQuery, maskQuery(u.RawQuery), 1)
	}
	if u.User == nil {
		return s
	}
	shown := masked // a lone user name may be a token, but not for a database
	if _, hasPassword := u.User.Password(); hasPassword {
		shown = url.PathEscape(u.User.Username()) + ":" + masked
	} else if postgres.IsURL(s) {
		shown = url.PathEscape(u.User.Username())
	}
	scheme, rest, _ := strings.Cut(s, "://")
	authority, path, slash := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		authority = authority[at+1:]
	}
	if slash {
		path = "/" + path
	}
	return scheme + "://" + shown + "@" + authority + path
}

// maskQuery masks the values of secrets in a query. It keeps the order and encoding of the rest.
func maskQuery(query string) string {
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		key, _, hasValue := strings.Cut(pair, "=")
		if hasValue && isSecretKey(key) {
			pairs[i] = key + "=" + masked
		}
	}
	return strings.Join(pairs, "&")
}

func isSecretKey(key string) bool {
	if decoded, err := url.QueryUnescape(key); err == nil {
		key = decoded
	}
	key = strings.ToLower(key)
	for _, word := range []string{"pass", "pwd", "secret", "token", "key", "sig", "cred"} {
		if strings.Contains(key, word) {
			return true
		}
	}
	return false
}

// Shown returns the setting's value in c in the form of a file or variable, masked if it may hold a
// secret.
func (s Setting) Shown(c *Config) string { return s.mask(s.text(c)) }

// mask returns the text, masked if the setting may hold a secret.
func (s Setting) mask(text string) string {
	if s.secret {
		return MaskURL(text)
	}
	return maskMisplaced(text)
}

// maskMisplaced returns the text of a setting without secrets, masked if it is a URL that may have
// one all the same.
func maskMisplaced(text string) string {
	if strings.Contains(text, "://") && strings.Contains(text, "@") {
		return MaskURL(text)
	}
	return text
}
