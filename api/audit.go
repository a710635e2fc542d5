package api

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/token"
)

// The events of the audit, one line each:
//
//	login   somebody proved who they are, or failed to
//	token   a token was issued
//	session a CI job was given a session
//	denied  a proof was no good, or the policy refused
//	write   content came, or went
//
// A password that comes with every request is a login where it is checked for
// its own sake: at the token endpoint and with a ping.
const (
	eventLogin   = "login"
	eventToken   = "token"
	eventSession = "session"
	eventDenied  = "denied"
	eventWrite   = "write"
)

// audit writes one line to the log and to the file of the audit. Nothing that a
// client could take for a place for secrets is in it.
func (a *API) audit(event string, r *request, attrs ...slog.Attr) {
	line := append([]slog.Attr{
		slog.String("event", event),
		slog.String("id", r.id),
		slog.String("from", r.origin.addr.String()),
		slog.String("kind", string(r.caller.Kind)),
		slog.String("name", r.caller.Name),
		slog.String("credential", r.caller.Credential),
	}, attrs...)
	if r.caller.Issuer != "" {
		line = append(line, slog.String("issuer", r.caller.Issuer))
	}
	for _, log := range a.auditors {
		log.LogAttrs(context.Background(), slog.LevelInfo, "audit", line...)
	}
}

// auditLogin says that somebody logged in, or why not. The name that was claimed
// is told only where there is somebody of that name: people type passwords in its place.
func (a *API) auditLogin(r *request, claimed string, err error) {
	if err == nil {
		a.audit(eventLogin, r, slog.String("outcome", "ok"))
		return
	}
	if !a.auth.Logins.Knows(claimed) {
		claimed = ""
	}
	a.audit(eventLogin, r, slog.String("outcome", err.Error()), slog.String("claimed", claimed))
}

func (a *API) auditToken(r *request, signed token.Signed, asked, granted []auth.Access) {
	a.audit(eventToken, r,
		slog.String("token", signed.ID),
		slog.Time("expires", signed.Expires),
		slog.String("asked", shortened(scopeText(asked))),
		slog.String("granted", shortened(scopeText(granted))),
	)
}

func (a *API) auditSession(r *request, s login.Session) {
	a.audit(eventSession, r, slog.Time("expires", s.Expires))
}

// auditDenial says what was refused, and by which rule or for which reason.
func (a *API) auditDenial(r *request, p auth.Permission, rule string) {
	a.audit(eventDenied, r, what(r, p, rule)...)
}

// auditWrite says that content came or went. An upload session is none yet.
func (a *API) auditWrite(x *exchange) {
	p := x.permission
	if p == auth.Push && x.w.status == http.StatusCreated || p == auth.Delete && x.w.status == http.StatusAccepted {
		a.audit(eventWrite, &x.r, append(what(&x.r, p, x.r.rule),
			slog.String("method", x.r.Method), slog.String("digest", x.w.Header().Get("Docker-Content-Digest")))...)
	}
}

func what(r *request, p auth.Permission, rule string) []slog.Attr {
	return []slog.Attr{
		slog.String("permission", string(p)),
		slog.String("route", r.route),
		slog.String("repository", r.repo),
		slog.String("reference", logged(r.rawElement)),
		slog.String("rule", rule),
	}
}
