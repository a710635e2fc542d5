package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/token"
	"github.com/berth-registry/berth/manifest"
)

// Auth authenticates callers. Both are the ones that cmd made.
type Auth struct {
	Logins *login.Service
	Tokens *token.Issuer
}

// permit lets a request through or says why not. It is asked once for each
// request, before storage is, and before a byte of the body is read.
//
// Without Auth the policy alone decides, for an unauthenticated caller. With it each request has to
// show a token, also an anonymous one, or a password; and what a token gives is
// given only as far as the policy still gives it to the token's holder now.
func (a *API) permit(w *web.Response, r *request, op operation) error {
	if op.door == public {
		return nil
	}
	r.permitted, r.permission = a.options.Now(), op.permission
	if a.auth != nil {
		if err := a.identify(r, op); err != nil {
			return a.refuse(w, r, op.permission, err)
		}
	}
	return a.admit(w, r)
}

// admit lets a request through whose caller is known, if the policy and the token allow it.
func (a *API) admit(w *web.Response, r *request) error {
	d := a.decide(r, r.permission)
	if d.Allowed {
		return nil
	}
	if a.auth == nil {
		return manifest.Errorf(errForbidden, "permission %q is needed", r.permission)
	}
	a.auditDenial(r, r.permission, d.Rule)
	if r.shown.scheme == bearer {
		return a.unauthorized(w, r, insufficientScope, "the token does not allow this, or its holder may not do it", r.wanted(r.permission))
	}
	// A 401 would be read as a wrong password.
	return manifest.Errorf(errForbidden, "%s may not do this: permission %q is needed", r.caller.Subject(), r.permission)
}

// confirmAfter is how long a write may take before it is asked again whether it may happen.
const confirmAfter = time.Second

// confirm asks again whether a write may happen, and makes room for its line in the audit: when its
// body is complete, and before anything is changed.
//
// Its errors are those of permit, and ErrAuditFull.
func (a *API) confirm(w *web.Response, r *request) error {
	if err := a.permitAgain(w, r); err != nil {
		return err
	}
	return a.reserveAudit(r)
}

// permitAgain is permit for a request whose body is complete. A body may take as long as its client
// likes, and what was taken away from the caller meanwhile must not write any more: the account,
// the credential, the key that signed its token, or the right. That the credential merely ended
// meanwhile is no reason to refuse.
//
// Its errors are those of permit.
func (a *API) permitAgain(w *web.Response, r *request) error {
	if next := a.successor.Load(); next != nil { // the registry was open, and has users now
		r.origin = next.web.OriginOf(r.Request)
		return next.permit(w, r, operation{route: route{permission: r.permission}})
	}
	if a.options.Now().Sub(r.permitted) <= confirmAfter {
		return nil
	}
	if a.auth != nil {
		if err := a.identifyAgain(r); err != nil {
			return a.refuse(w, r, r.permission, err)
		}
	}
	return a.admit(w, r)
}

// identifyAgain finds out what the caller, who was identified before, has become since.
// Errors: token.ErrInvalid, and those of login.Service.
func (a *API) identifyAgain(r *request) error {
	ctx := context.WithoutCancel(r.Context()) // the body is complete: that its client may be gone changes nothing
	version, err := a.auth.Logins.Version(ctx)
	if err != nil {
		return fmt.Errorf("reading the version of identities: %w", err)
	}
	if r.shown.scheme == bearer {
		revoked, err := a.auth.Tokens.Revoked(ctx, r.key, version)
		if err != nil {
			return err
		}
		if revoked {
			return fmt.Errorf("%w: its key was revoked", token.ErrInvalid)
		}
	}
	if r.caller.Kind == auth.Anonymous {
		return nil
	}
	current, err := a.auth.Logins.Current(ctx, r.caller, version)
	if err != nil && !errors.Is(err, auth.ErrExpired) {
		return err
	}
	r.caller = current
	return nil
}

// decide asks whether the caller may do it here: the token that was shown, if
// one was, and the policy as it is now.
func (a *API) decide(r *request, p auth.Permission) auth.Decision {
	d := a.policy.Decide(r.caller, r.origin.Addr, p, r.repo)
	r.rule = d.Rule
	if d.Allowed && !r.tokenGrants(p, r.repo) {
		return auth.Decision{Rule: "outside the token's access"}
	}
	return d
}

// policyAllows reports whether the policy, as it is now, allows the caller something in a
// repository.
func (a *API) policyAllows(r *request, p auth.Permission, repo string) bool {
	return a.policy.Decide(r.caller, r.origin.Addr, p, repo).Allowed
}

// mayPull reports whether the caller may pull from the request's repository.
func (a *API) mayPull(r *request) bool {
	return a.policyAllows(r, auth.Pull, r.repo) && r.tokenGrants(auth.Pull, r.repo)
}

// tokenGrants reports whether the token that was shown grants something in a repository. Without a
// token nothing but the policy decides.
func (r *request) tokenGrants(p auth.Permission, repo string) bool {
	return r.shown.scheme != bearer || auth.Grants(r.access, p, repo)
}

// scheme is the kind of proof that a request shows.
type scheme int

const (
	none scheme = iota
	basic
	bearer
)

// shown is what a request's Authorization shows. It is never logged.
type shown struct {
	scheme scheme
	name   string // of a Basic
	secret string // password or token
}

// credentials returns what a Basic shows, and where it comes from.
func (r *request) credentials() auth.Credentials {
	return auth.Credentials{Name: r.shown.name, Secret: r.shown.secret, From: r.origin.Addr}
}

// String does not show the secret.
func (s shown) String() string { return "authorization" }

// GoString does not either.
func (s shown) GoString() string { return s.String() }

// errMalformed says that an Authorization cannot be read.
var errMalformed = errors.New("malformed authorization")

// parseAuthorization reads the Authorization of a request (RFC 9110, 11.6.2).
// Two of them are an error of the client's: two readers could take different ones. Basic
// with neither name nor password shows nothing: podman sends it when it has none.
//
// Errors: errParameter for two, errMalformed for what cannot be read.
func parseAuthorization(values []string) (shown, error) {
	if len(values) == 0 {
		return shown{}, nil
	}
	if len(values) > 1 {
		return shown{}, manifest.Errorf(errParameter, "the request has %d header fields Authorization, one is allowed", len(values))
	}
	kind, rest, _ := strings.Cut(values[0], " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(kind, "Bearer"):
		if rest == "" {
			return shown{}, errMalformed
		}
		return shown{scheme: bearer, secret: rest}, nil
	case strings.EqualFold(kind, "Basic"):
		text, err := base64.StdEncoding.DecodeString(rest)
		name, secret, ok := strings.Cut(string(text), ":")
		switch {
		case err != nil || !ok:
			return shown{}, errMalformed
		case name == "" && secret == "":
			return shown{}, nil
		}
		return shown{scheme: basic, name: name, secret: secret}, nil
	}
	return shown{}, errMalformed
}

// errNothing says that a request shows nothing.
var errNothing = errors.New("no credentials")

// identify finds out who asks, by what the request shows.
// Errors: errNothing, errMalformed, errParameter, token.ErrInvalid,
// token.ErrExpired, those of login.Service and of audit.
func (a *API) identify(r *request, op operation) (err error) {
	if r.shown, err = parseAuthorization(r.Header["Authorization"]); err != nil {
		return err
	}
	switch r.shown.scheme {
	case bearer:
		a.noteSecret(r)
		return a.identifyToken(r, op.element == anUploadID)
	case basic:
		a.noteSecret(r)
		r.caller, err = a.auth.Logins.Login(r.Context(), r.credentials())
		if err != nil || op.permission == auth.None {
			return a.auditLogin(r, r.shown.name, err)
		}
		return err
	}
	return errNothing
}

// identifyToken verifies a token and asks what its holder has become since. With
// grace a token that has expired still serves: a client that reacts to a 401 by
// fetching another one has no body any more to send again. Storage sees to it
// that such a token serves no session but its own.
func (a *API) identifyToken(r *request, grace bool) error {
	version, err := a.auth.Logins.Version(r.Context())
	if err != nil {
		return fmt.Errorf("reading the version of identities: %w", err)
	}
	grant, err := a.auth.Tokens.Verify(r.Context(), r.shown.secret, version)
	if err != nil && !(grace && errors.Is(err, token.ErrExpired)) {
		return err
	}
	r.access, r.caller, r.key = grant.Access, grant.Identity, grant.KID
	if r.caller.Kind == auth.Anonymous {
		return nil
	}
	// Where there is no such holder any more, the audit still tells whose token it was.
	current, err := a.auth.Logins.Current(r.Context(), grant.Identity, version)
	if err == nil {
		r.caller = current
	}
	return err
}

// refuse answers a request whose caller could not be identified.
func (a *API) refuse(w *web.Response, r *request, p auth.Permission, err error) error {
	switch {
	case errors.Is(err, errNothing):
		return a.unauthorized(w, r, noError, "authentication required", r.wanted(p))
	case errors.Is(err, token.ErrInvalid), errors.Is(err, token.ErrExpired), errors.Is(err, errMalformed),
		r.shown.scheme == bearer && errors.Is(err, auth.ErrCredentials):
		a.auditDenial(r, p, err.Error())
		return a.unauthorized(w, r, invalidToken, "the token is not valid here, or no longer: fetch another one", r.wanted(p))
	case errors.Is(err, auth.ErrCredentials):
		return a.unauthorized(w, r, invalidToken, auth.ErrCredentials.Error(), r.wanted(p))
	}
	return loginError(w, err)
}

// loginError gives the errors of a login that are not the client's fault a status.
func loginError(w *web.Response, err error) error {
	if tooMany, ok := errors.AsType[*auth.TooManyError](err); ok {
		seconds := max(int(math.Ceil(tooMany.Wait.Seconds())), 1)
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		return manifest.Errorf(errTooMany, "too many attempts to log in: try again in %d s", seconds)
	}
	return err
}

// plainWarning is how often the log is told that secrets come over plain HTTP.
const plainWarning = time.Hour

// noteSecret warns, now and then, of a secret that came over the network for all
// to read. The request is served all the same, since the secret is out already.
func (a *API) noteSecret(r *request) {
	o := r.origin
	if r.TLS != nil || o.Proxied || o.Addr.IsLoopback() || !o.Addr.IsValid() {
		return
	}
	now, last := a.options.Now().UnixNano(), a.warned.Load()
	if last != 0 && now-last < int64(plainWarning) || !a.warned.CompareAndSwap(last, now) {
		return
	}
	a.log.Warn("credentials arrive over plain HTTP from beyond this host, for everyone on the way to read: set tls.certificate and tls.key, or http.trusted_proxies to the proxy that has them",
		"id", r.id, "remote", o.Addr.String())
}
