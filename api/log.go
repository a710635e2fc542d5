package api

import (
	"context"
	"log/slog"
	"time"

	"github.com/berth-registry/berth/api/web"
)

// logRequest logs one line for a request. Of the query and the header it has only the user agent,
// because the others may contain secrets.
func (a *API) logRequest(x *exchange, took time.Duration) {
	level := slog.LevelInfo
	if x.quiet {
		level = slog.LevelDebug
	}
	ctx := context.Background() // the request is logged even if its client is gone
	if !a.log.Enabled(ctx, level) {
		return
	}
	attrs := [13]slog.Attr{
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
	n := len(attrs) - 3
	if a.auth != nil {
		attrs[n] = slog.String("caller", x.r.caller.Subject())
		n++
	}
	if id, ok := x.r.clientIDAttr(); ok {
		attrs[n] = id
		n++
	}
	if err := x.Response.Err(); err != nil {
		attrs[n] = slog.String("cut", err.Error())
		n++
	}
	a.log.LogAttrs(ctx, level, "request", attrs[:n]...)
}

// clientIDAttr returns the X-Request-Id that the client sent, if it sent one. The answer has it in
// place of the id.
func (r *request) clientIDAttr() (attr slog.Attr, ok bool) {
	id := web.ClientID(r.Request)
	return slog.String("client_request_id", id), id != ""
}

// remote returns the client's address, with its port unless a proxy forwarded the request.
func (r *request) remote() string {
	if r.origin.Proxied {
		return r.origin.Addr.String()
	}
	return r.RemoteAddr
}

// logError logs an error of which the client learns little or nothing.
func (a *API) logError(level slog.Level, text string, r *request, err error) {
	attrs := []slog.Attr{
		slog.String("id", r.id),
		slog.String("method", web.Redact(r.Method)),
		slog.String("route", r.route),
		slog.String("repository", web.Redact(r.rawRepo)),
		slog.String("reference", web.Redact(r.rawElement)),
		slog.String("error", err.Error()),
	}
	if id, ok := r.clientIDAttr(); ok {
		attrs = append(attrs, id)
	}
	a.log.LogAttrs(context.Background(), level, text, attrs...)
}
