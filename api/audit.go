package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/token"
)

// The events of audit lines:
//
//	login   an authentication that succeeded or failed
//	token   a registry token was issued
//	session a CI job received a login session
//	denied  a credential was invalid, or the policy denied the request
//	write   content was stored or deleted
//
// Passwords that come with every request are a login event only at the token endpoint and with a
// ping, where checking them is the purpose of the request.
const (
	eventLogin        = "login"
	eventToken        = "token"
	eventLoginSession = "session"
	eventDenied       = "denied"
	eventWrite        = "write"
)

// Auditor receives the audit lines. Room for a line is reserved before the line is written. For a
// write, room is reserved before storage changes anything: without room the write is refused.
type Auditor interface {
	// Reserve makes room for one line. If there is none it waits up to a second.
	// Errors: ErrAuditFull when there is still no room; that of ctx when it ends first.
	Reserve(ctx context.Context) error

	// Write writes a line into the room that Reserve made. It does not wait.
	Write(line slog.Record)

	// Release gives back the room that Reserve made.
	Release()

	// Drop counts a line that is lost because there was no room for it.
	Drop()
}

// ErrAuditFull is the error of an Auditor that has no room for a line.
var ErrAuditFull = errors.New("the audit takes no lines now, try again")

// reserveAudit makes room for an audit line, unless the request has room already. Handlers of
// writes call it after the body is complete, so that a slow client holds no room, and before
// storage changes anything. Unused room is released when the request is answered.
func (a *API) reserveAudit(r *request) error { return a.reserveLine(r.Context(), r) }

func (a *API) reserveLine(ctx context.Context, r *request) error {
	if a.auditor == nil || r.auditReserved {
		return nil
	}
	if err := a.auditor.Reserve(ctx); err != nil {
		return err
	}
	r.auditReserved = true
	return nil
}

// releaseAudit gives back the room that reserveAudit made, if it was not used.
func (a *API) releaseAudit(r *request) {
	if r.auditReserved {
		r.auditReserved = false
		a.auditor.Release()
	}
}

// awaitAuditRoom waits until the audit has room for a line, without keeping it. It is called before
// work that is in vain without an audit line, but takes too long to hold room meanwhile.
func (a *API) awaitAuditRoom(r *request) error {
	defer a.releaseAudit(r)
	return a.reserveAudit(r)
}

// audit writes one line to the log, which may drop it, and to the Auditor. It contains no text that
// a client may have confused with a secret.
// Errors: those of Auditor.Reserve; the Auditor then does not have the line.
func (a *API) audit(event string, r *request, attrs ...slog.Attr) error {
	line := append([]slog.Attr{
		slog.String("event", event),
		slog.String("id", r.id),
		slog.String("from", r.origin.Addr.String()),
		slog.String("kind", string(r.caller.Kind)),
		slog.String("name", r.caller.Name),
		slog.String("credential", r.caller.Credential),
	}, attrs...)
	if r.caller.Issuer != "" {
		line = append(line, slog.String("issuer", r.caller.Issuer))
	}
	if id, ok := r.clientIDAttr(); ok {
		line = append(line, id)
	}
	const message = "audit"
	if a.auth != nil {
		a.log.LogAttrs(context.Background(), slog.LevelInfo, message, line...)
	}
	if a.auditor == nil {
		return nil
	}
	// The line is written even if the client has left.
	if err := a.reserveLine(context.WithoutCancel(r.Context()), r); err != nil {
		return err
	}
	record := slog.NewRecord(time.Now(), slog.LevelInfo, message, 0)
	record.AddAttrs(line...)
	r.auditReserved = false
	a.auditor.Write(record)
	return nil
}

// auditOrDrop writes a line about an event that cannot be undone. Without room the line is dropped
// and counted.
func (a *API) auditOrDrop(event string, r *request, attrs ...slog.Attr) {
	if err := a.audit(event, r, attrs...); err != nil {
		a.auditor.Drop()
	}
}

// auditLogin writes the outcome of a login and returns err. The claimed name is in the line only if
// there is an account of that name: people type passwords into the name field.
//
// Without room for the line the Auditor's error is returned instead of err, so that guesses without
// an audit line learn nothing.
func (a *API) auditLogin(r *request, claimed string, err error) error {
	attrs := []slog.Attr{slog.String("outcome", "ok")}
	if err != nil {
		// The line has the name also where the client does not wait for the answer.
		if !a.auth.Logins.KnowsUserName(context.WithoutCancel(r.Context()), claimed) {
			claimed = ""
		}
		attrs = []slog.Attr{slog.String("outcome", err.Error()), slog.String("claimed", claimed)}
	}
	if full := a.audit(eventLogin, r, attrs...); full != nil {
		return full
	}
	return err
}

func (a *API) auditToken(r *request, signed token.Signed, asked, granted []auth.Access) error {
	return a.audit(eventToken, r,
		slog.String("token", signed.ID),
		slog.Time("expires", signed.Expires),
		slog.String("asked", web.Shorten(scopeText(asked))),
		slog.String("granted", web.Shorten(scopeText(granted))),
	)
}

func (a *API) auditLoginSession(r *request, s login.Session) error {
	return a.audit(eventLoginSession, r, slog.Time("expires", s.Expires))
}

// auditDenial records a denied request with the rule or reason. The request is denied even if there
// is no room for the line.
func (a *API) auditDenial(r *request, p auth.Permission, rule string) {
	a.auditOrDrop(eventDenied, r, decisionAttrs(r, p, rule)...)
}

// auditWrite records that content was stored or deleted, in the room that reserveAudit made.
// Opening an upload session stores no content yet.
func (a *API) auditWrite(x *exchange) {
	p, status := x.permission, x.Response.Status()
	if p == auth.Push && status == http.StatusCreated || p == auth.Delete && status == http.StatusAccepted {
		digest := x.Response.Header().Get("Docker-Content-Digest")
		a.auditOrDrop(eventWrite, &x.r, append(decisionAttrs(&x.r, p, x.r.rule),
			slog.String("method", x.r.Method), slog.String("digest", digest))...)
	}
	a.releaseAudit(&x.r)
}

// decisionAttrs returns the attributes of a decision, for its audit line.
func decisionAttrs(r *request, p auth.Permission, rule string) []slog.Attr {
	return []slog.Attr{
		slog.String("permission", string(p)),
		slog.String("route", r.route),
		slog.String("repository", r.repo),
		slog.String("reference", web.Redact(r.rawElement)),
		slog.String("rule", rule),
	}
}
