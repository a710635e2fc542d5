package config

import (
	"net/url"
	"strings"
)

const masked = "********"

// MaskURL returns a URL fit to be shown: the password of its user part and the values of its query
// that sound like secrets are masked. Text that is not a URL is masked whole, since a
// password may be anywhere in it.
func MaskURL(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Scheme != "file" && strings.Contains(u.Opaque+u.Path+u.Fragment, "@") {
		return masked // an @ in the path may end a password with a slash in it
	}
	if u.RawQuery != "" {
		head, tail, _ := strings.Cut(s, "?")
		s = head + "?" + strings.Replace(tail, u.RawQuery, maskQuery(u.RawQuery), 1)
	}
	if u.User == nil {
		return s
	}
	shown := masked // a lone user name may be a token
	if _, hasPassword := u.User.Password(); hasPassword {
		shown = url.PathEscape(u.User.Username()) + ":" + masked
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

// maskQuery masks values without touching the order or the form of the rest.
func maskQuery(query string) string {
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		key, _, hasValue := strings.Cut(pair, "=")
		if hasValue && soundsSecret(key) {
			pairs[i] = key + "=" + masked
		}
	}
	return strings.Join(pairs, "&")
}

func soundsSecret(key string) bool {
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

// Shown returns the setting's value in c, as it may be written in a file or variable, masked where
// it may hold a secret.
func (s Setting) Shown(c *Config) string { return s.mask(s.text(c)) }

// mask masks a value of the setting where it may hold a secret.
func (s Setting) mask(text string) string {
	if s.secret {
		return MaskURL(text)
	}
	return text
}
