package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/api/web"
)

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
		slog.String("method", web.Redact(x.r.Method)),
		slog.String("route", x.r.route),
		slog.String("repository", web.Redact(x.r.rawRepo)),
		slog.String("reference", web.Redact(x.r.rawElement)),
		slog.Int("status", x.Response.Status()),
		slog.Int64("bytes", x.Response.Sent()),
		slog.Duration("duration", took),
		slog.String("user_agent", web.Redact(x.r.UserAgent())),
		slog.String("remote", x.r.remote()),
	}
	n := len(attrs) - 2
	if a.auth != nil {
		attrs[n] = slog.String("caller", x.r.caller.Subject())
		n++
	}
	if err := x.Response.Err(); err != nil {
		attrs[n] = slog.String("cut", err.Error())
		n++
	}
	a.log.LogAttrs(ctx, level, "request", attrs[:n]...)
}

// remote is the address of the client, with its port unless a proxy forwarded the request.
func (r *request) remote() string {
	if r.origin.Proxied {
		return r.origin.Addr.String()
	}
	return r.RemoteAddr
}

// logFault writes the line of an error that a client is told little of.
func (a *API) logFault(level slog.Level, text string, r *request, err error) {
	a.log.LogAttrs(context.Background(), level, text,
		slog.String("id", r.id),
		slog.String("method", web.Redact(r.Method)),
		slog.String("route", r.route),
		slog.String("repository", web.Redact(r.rawRepo)),
		slog.String("reference", web.Redact(r.rawElement)),
		slog.String("error", err.Error()),
	)
}
