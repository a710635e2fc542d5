package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

const (
	maxRequestID = 128 // characters of a client's own X-Request-Id
	maxLogged    = 512 // characters of what a client wrote
)

// tokenText is what no log has, wherever a client put it: tokens of this registry, and
// signed ones.
var tokenText = regexp.MustCompile(`berth[prt]_[0-9A-Za-z]+|eyJ[0-9A-Za-z_-]+\.[0-9A-Za-z_.-]+`)

// ids gives requests their names: unique, not secret.
type ids struct {
	prefix string
	count  atomic.Uint64
}

func newIDs() *ids {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return &ids{prefix: hex.EncodeToString(b[:]) + "-"}
}

// of returns the id that the client gave its request, if it is one, or a new one.
func (i *ids) of(r *http.Request) string {
	if v := r.Header["X-Request-Id"]; len(v) == 1 && saneID(v[0]) && logged(v[0]) == v[0] {
		return v[0]
	}
	b := make([]byte, 0, 32)
	b = append(b, i.prefix...)
	return string(strconv.AppendUint(b, i.count.Add(1), 36))
}

func saneID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=':
		default:
			return false
		}
	}
	return true
}

// logRequest writes the request's line. It has nothing of the query and of the
// header but the user agent: there is where secrets are.
func (a *API) logRequest(x *exchange, took time.Duration) {
	level := slog.LevelInfo
	if x.quiet {
		level = slog.LevelDebug
	}
	ctx := context.Background() // a client that is gone has its line all the same
	if !a.log.Enabled(ctx, level) {
		return
	}
	attrs := [12]slog.Attr{
		slog.String("id", x.r.id),
		slog.String("method", logged(x.r.Method)),
		slog.String("route", x.r.route),
		slog.String("repository", logged(x.r.rawRepo)),
		slog.String("reference", logged(x.r.rawElement)),
		slog.Int("status", x.w.status),
		slog.Int64("bytes", x.w.sent),
		slog.Duration("duration", took),
		slog.String("user_agent", logged(x.r.UserAgent())),
		slog.String("remote", x.r.remote()),
	}
	n := len(attrs) - 2
	if a.auth != nil {
		attrs[n] = slog.String("caller", x.r.caller.Subject())
		n++
	}
	switch {
	case x.w.err != nil:
		attrs[n] = slog.String("cut", x.w.err.Error())
		n++
	case x.w.short():
		attrs[n] = slog.String("cut", "the body ended early")
		n++
	}
	a.log.LogAttrs(ctx, level, "request", attrs[:n]...)
}

// remote is the address of the client, with its port unless a proxy forwarded the request.
func (r *request) remote() string {
	if r.origin.proxied {
		return r.origin.addr.String()
	}
	return r.RemoteAddr
}

// logFault writes the line of an error that a client is told little of.
func (a *API) logFault(level slog.Level, text string, r *request, err error) {
	a.log.LogAttrs(context.Background(), level, text,
		slog.String("id", r.id),
		slog.String("method", logged(r.Method)),
		slog.String("route", r.route),
		slog.String("repository", logged(r.rawRepo)),
		slog.String("reference", logged(r.rawElement)),
		slog.String("error", err.Error()),
	)
}

// logged is what a client wrote, as a log may have it: bounded, and without tokens
// that ended up in a path or a name.
func logged(s string) string {
	if strings.Contains(s, "berth") || strings.Contains(s, "eyJ") {
		s = tokenText.ReplaceAllLiteralString(s, "[token]")
	}
	return shortened(s)
}

// shortened bounds what a client can make us write.
func shortened(s string) string {
	if len(s) > maxLogged {
		return s[:maxLogged] + "…"
	}
	return s
}
