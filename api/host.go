package api

import (
	"net/url"
	"strings"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/internal/host"
	"github.com/berth-registry/berth/manifest"
)

// RelativeLocations is when the Location of an answer is a path, and when a whole URL.
type RelativeLocations string

// The values of Options.RelativeLocations. The host that the client used is that of the request's
// origin.
const (
	// RelativeAuto makes a Location absolute if the client used the host of an external URL.
	RelativeAuto   RelativeLocations = "auto"
	RelativeAlways RelativeLocations = "always"
	// RelativeNever makes a Location absolute also with other hosts, by the scheme and host that
	// the client used. If the request names no host the Location is relative all the same.
	RelativeNever RelativeLocations = "never"
)

// baseURL is a URL under which clients reach this registry.
type baseURL struct {
	scheme string
	host   host.Host
	url    string // without a trailing slash
}

func newBaseURLs(urls []string) []baseURL {
	var bases []baseURL
	for _, text := range urls {
		b := baseURL{url: strings.TrimRight(text, "/")}
		if u, err := url.Parse(text); err == nil {
			b.scheme, b.host = u.Scheme, host.Parse(u.Scheme, u.Host)
		}
		bases = append(bases, b)
	}
	return bases
}

// externalURL returns the configured URL with the host that the client used, or "". Of several with
// this host it is one with the scheme that the client used, if there is one, or else the first.
func (a *API) externalURL(o web.Origin) string {
	var found string
	for _, b := range a.baseURLs {
		switch {
		case b.host != host.Parse(b.scheme, o.Host):
		case b.scheme == o.Scheme:
			return b.url
		case found == "":
			found = b.url
		}
	}
	return found
}

// requestURL returns the URL of the scheme and host that the client used. It returns "" if the
// host is not a plain one, or missing.
func requestURL(o web.Origin) string {
	text := o.Scheme + "://" + o.Host
	u, err := url.Parse(text)
	if !isPlainHost(o.Host) || err != nil || strings.ContainsAny(u.Hostname(), "[]") {
		return ""
	}
	return text
}

// baseURLFor returns the URL under which a client reached the registry: the configured URL with the
// host of the request, or else the first one. Without configured URLs it is made from the request's
// scheme and host, which must be a plain host.
func (a *API) baseURLFor(o web.Origin) (string, error) {
	if at := a.externalURL(o); at != "" {
		return at, nil
	}
	if len(a.baseURLs) > 0 {
		return a.baseURLs[0].url, nil
	}
	if at := requestURL(o); at != "" {
		return at, nil
	}
	return "", manifest.Errorf(errParameter,
		"the request's host is %q, expected a name or an address, and a port", web.Shorten(o.Host))
}

// locationBase returns what stands before the path in a Location; "" for a relative one.
func (a *API) locationBase(o web.Origin) string {
	mode := a.options.RelativeLocations
	if mode == RelativeAlways {
		return ""
	}
	if at := a.externalURL(o); at != "" || mode != RelativeNever {
		return at
	}
	return requestURL(o)
}

// isPlainHost reports whether s has only characters of a host, and needs no escaping in a URL or
// between quotes. net/http accepts more: the host of an absolute request line may contain a quote.
func isPlainHost(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return s != "" && strings.Trim(s, letters+".-_:[]") == ""
}

// checkHost returns an error if the API does not answer for the request's host. Where a trusted
// proxy forwarded another one, both are checked: a web page can send any X-Forwarded-Host, and no
// other Host than its own.
func (a *API) checkHost(r *request) error {
	a.warnLoopbackHost(r)
	for i, name := range [...]string{r.Host, r.origin.Host} {
		if i > 0 && name == r.Host {
			continue // without a proxy it is the same
		}
		if !a.web.AllowsHost(r.origin.Scheme, name) {
			return manifest.Errorf(errMisdirected,
				"this registry does not answer for the host %q: expected a name of the loopback, a host of http.external_url, or one of http.hosts", web.Shorten(name))
		}
	}
	return nil
}

// warnLoopbackHost logs, once, that a trusted proxy hands on a loopback Host for a client
// elsewhere. Clients would be sent to that host, and a check of hosts sees it instead of theirs.
func (a *API) warnLoopbackHost(r *request) {
	o := r.origin
	if !o.Proxied || len(a.baseURLs) > 0 || !o.Addr.IsValid() || o.Addr.IsLoopback() || a.hostWarned.Load() {
		return
	}
	if host.Parse(o.Scheme, o.Host).IsLoopback() && !a.hostWarned.Swap(true) {
		a.log.Warn("a proxy hands on a loopback host in place of the one that its client used, to which clients are sent for tokens: set http.external_url, or let the proxy set Host or X-Forwarded-Host",
			"id", r.id, "host", web.Shorten(o.Host))
	}
}
