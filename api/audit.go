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

// Auditor takes the lines of the audit. Room for a line is reserved before it is written, and for
// the line of a write before storage changes anything: what the audit has no room for is not done.
type Auditor interface {
	// Reserve makes room for one line. It waits a second at most, and only if there is none now.
	// Errors: ErrAuditFull when there was none; that of ctx, when it ends first.
	Reserve(ctx context.Context) error

	// Write takes a line, and the room that Reserve made for it. It does not wait.
	Write(line slog.Record)

	// Release gives back the room of a line that is not written.
	Release()

	// Drop counts a line that is lost because there was no room for it.
	Drop()
}

// ErrAuditFull is the error of an Auditor that takes no lines now.
var ErrAuditFull = errors.New("the audit takes no lines now, try again")

// reserveAudit makes room for a line of the audit, unless the request has it already. Handlers of
// writes call it when the body has come, and before storage changes anything: a slow client holds
// no room. What is not used is given back when the request is answered.
func (a *API) reserveAudit(r *request) error { return a.reserveLine(r.Context(), r) }

func (a *API) reserveLine(ctx context.Context, r *request) error {
	if a.auditor == nil || r.audited {
		return nil
	}
	if err := a.auditor.Reserve(ctx); err != nil {
		return err
	}
	r.audited = true
	return nil
}

// releaseAudit gives back the room that reserveAudit made, if it was not used.
func (a *API) releaseAudit(r *request) {
	if r.audited {
		r.audited = false
		a.auditor.Release()
	}
}

// awaitAudit waits until the audit takes lines. It comes before what would be done in vain if it
// did not, and takes so long that no room is held meanwhile.
func (a *API) awaitAudit(r *request) error {
	defer a.releaseAudit(r)
	return a.reserveAudit(r)
}

// audit writes one line: to the log, which may drop it, and to the Auditor. Nothing that a client
// could take for a place for secrets is in it.
// Errors: those of Auditor.Reserve, when the Auditor does not have the line.
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
	const message = "audit"
	if a.auth != nil {
		a.log.LogAttrs(context.Background(), slog.LevelInfo, message, line...)
	}
	if a.auditor == nil {
		return nil
	}
	// A client that leaves does not get its line dropped by that.
	if err := a.reserveLine(context.WithoutCancel(r.Context()), r); err != nil {
		return err
	}
	record := slog.NewRecord(time.Now(), slog.LevelInfo, message, 0)
	record.AddAttrs(line...)
	r.audited = false
	a.auditor.Write(record)
	return nil
}

// auditDone writes the line of what is done and is not undone. Without room the line is dropped.
func (a *API) auditDone(event string, r *request, attrs ...slog.Attr) {
	if err := a.audit(event, r, attrs...); err != nil {
		a.auditor.Drop()
	}
}

// auditLogin says that somebody logged in, or why not, and returns err. The name that was claimed
// is told only where there is somebody of that name: people type passwords in its place.
// Without room for the line its error takes the place of err: whether a password is right is not
// told to those whose attempts the audit lacks.
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

func (a *API) auditSession(r *request, s login.Session) error {
	return a.audit(eventSession, r, slog.Time("expires", s.Expires))
}

// auditDenial says what was refused, and by which rule or for which reason. It is refused also
// where there is no room for the line.
func (a *API) auditDenial(r *request, p auth.Permission, rule string) {
	a.auditDone(eventDenied, r, what(r, p, rule)...)
}

// auditWrite says that content came or went, in the room that reserveAudit made before. An upload
// session is none yet.
func (a *API) auditWrite(x *exchange) {
	p, status := x.permission, x.Response.Status()
	if p == auth.Push && status == http.StatusCreated || p == auth.Delete && status == http.StatusAccepted {
		digest := x.Response.Header().Get("Docker-Content-Digest")
		a.auditDone(eventWrite, &x.r, append(what(&x.r, p, x.r.rule),
			slog.String("method", x.r.Method), slog.String("digest", digest))...)
	}
	a.releaseAudit(&x.r)
}

func what(r *request, p auth.Permission, rule string) []slog.Attr {
	return []slog.Attr{
		slog.String("permission", string(p)),
		slog.String("route", r.route),
		slog.String("repository", r.repo),
		slog.String("reference", web.Redact(r.rawElement)),
		slog.String("rule", rule),
	}
}
