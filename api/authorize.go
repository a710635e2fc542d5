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

// Auth authenticates callers and issues registry tokens.
type Auth struct {
	Logins *login.Service
	Tokens *token.Issuer
}

// authorize returns nil if the request may go on, or else the error to answer it with. It runs once
// for each request, before storage is called and before a byte of the body is read.
//
// Without an Auth the policy alone decides, for an unauthenticated caller. With an Auth each
// request needs a registry token, which may be anonymous, or a password. A token's access counts
// only as far as the policy, as it is now, still gives it to the token's holder.
func (a *API) authorize(w *web.Response, r *request, op operation) error {
	if op.protection == public {
		return nil
	}
	r.authorizedAt, r.permission = a.options.Now(), op.permission
	if a.auth != nil {
		if err := a.authenticate(r, op); err != nil {
			return a.authenticationError(w, r, op.permission, err)
		}
	}
	return a.authorizeCaller(w, r)
}

// authorizeCaller returns nil if the policy and the registry token allow the request of an
// authenticated caller.
func (a *API) authorizeCaller(w *web.Response, r *request) error {
	d := a.decide(r, r.permission)
	if d.Allowed {
		return nil
	}
	if a.auth == nil {
		return manifest.Errorf(errForbidden, "permission %q is needed", r.permission)
	}
	a.auditDenial(r, r.permission, d.Rule)
	if r.authorization.scheme == schemeBearer {
		return a.unauthorized(w, r, insufficientScope,
			"the token does not allow this, or its holder may not do it", r.requiredAccess(r.permission))
	}
	// A 401 would be read as a wrong password.
	return manifest.Errorf(errForbidden, "%s may not do this: permission %q is needed", r.caller.Subject(), r.permission)
}

// reauthorizeAfter is the duration after which a write is authorized again before it changes
// storage.
const reauthorizeAfter = time.Second

// confirm authorizes a write again and reserves room for its audit line. It is called when the body
// is complete, before anything changes.
//
// Errors: those of authorize, and of Auditor.Reserve.
func (a *API) confirm(w *web.Response, r *request) error {
	if err := a.reauthorize(w, r); err != nil {
		return err
	}
	return a.reserveAudit(r)
}

// reauthorize repeats authorize for a request whose body is complete. A body may take long, and a
// write must not succeed if meanwhile the account, the credential, the signing key of the token, or
// the permission was removed. That the credential expired meanwhile is not a reason to deny.
//
// Errors: those of authorize.
func (a *API) reauthorize(w *web.Response, r *request) error {
	if next := a.successor.Load(); next != nil { // an open registry that has users now
		r.origin = next.web.OriginOf(r.Request)
		return next.authorize(w, r, operation{route: route{permission: r.permission}})
	}
	if a.options.Now().Sub(r.authorizedAt) <= reauthorizeAfter {
		return nil
	}
	if a.auth != nil {
		if err := a.reauthenticate(r); err != nil {
			return a.authenticationError(w, r, r.permission, err)
		}
	}
	return a.authorizeCaller(w, r)
}

// reauthenticate updates the identity of a caller who was authenticated before.
// Errors: token.ErrInvalid, and those of login.Service.
func (a *API) reauthenticate(r *request) error {
	ctx := context.WithoutCancel(r.Context()) // the write goes on even if the client has left
	version, err := a.auth.Logins.Version(ctx)
	if err != nil {
		return fmt.Errorf("reading the version of identities: %w", err)
	}
	if r.authorization.scheme == schemeBearer {
		revoked, err := a.auth.Tokens.Revoked(ctx, r.keyID, version)
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

// decide returns the decision of the policy, as it is now, and of the registry token, if there is
// one.
func (a *API) decide(r *request, p auth.Permission) auth.Decision {
	d := a.policy.Decide(r.caller, r.origin.Addr, p, r.repo)
	r.rule = d.Rule
	if d.Allowed && !r.tokenGrants(p, r.repo) {
		return auth.Decision{Rule: "outside the token's access"}
	}
	return d
}

// policyAllows reports whether the policy, as it is now, gives the caller a permission in a
// repository.
func (a *API) policyAllows(r *request, p auth.Permission, repo string) bool {
	return a.policy.Decide(r.caller, r.origin.Addr, p, repo).Allowed
}

// mayPull reports whether the caller may pull from the request's repository.
func (a *API) mayPull(r *request) bool {
	return a.policyAllows(r, auth.Pull, r.repo) && r.tokenGrants(auth.Pull, r.repo)
}

// tokenGrants reports whether the registry token grants a permission in a repository. It is true
// for requests without one: the policy alone decides.
func (r *request) tokenGrants(p auth.Permission, repo string) bool {
	return r.authorization.scheme != schemeBearer || auth.Grants(r.access, p, repo)
}

// scheme is the authentication scheme of a request (RFC 9110, 11.1).
type scheme int

const (
	schemeNone scheme = iota
	schemeBasic
	schemeBearer
)

// authorization is the parsed header field Authorization, or the credentials of a form. It is never
// logged.
type authorization struct {
	scheme scheme
	name   string // with schemeBasic
	secret string // a password or token
}

// credentials returns the Basic credentials, with the client's address.
func (r *request) credentials() auth.Credentials {
	return auth.Credentials{Name: r.authorization.name, Secret: r.authorization.secret, From: r.origin.Addr}
}

// String hides the secret.
func (s authorization) String() string { return "authorization" }

// GoString hides the secret.
func (s authorization) GoString() string { return s.String() }

// errMalformed is the error of an Authorization that cannot be parsed. Errors that wrap it say what
// is expected, and quote nothing of the header.
var errMalformed = errors.New("the header field Authorization is malformed")

var (
	errNoToken   = fmt.Errorf("%w: Bearer without a token: expected Bearer TOKEN", errMalformed)
	errNotBase64 = fmt.Errorf(
		"%w: what is behind Basic is not base64: expected the base64 of NAME:PASSWORD", errMalformed)
	errNoColon = fmt.Errorf(
		"%w: what is behind Basic has no colon when decoded: expected the base64 of NAME:PASSWORD", errMalformed)
	errBearer = fmt.Errorf(
		"%w: a registry token gets no other token: expected Basic with a user name and password", errMalformed)
	errScheme = fmt.Errorf("%w: expected Basic with a user name and password, or Bearer with a token", errMalformed)
)

// parseAuthorization parses the header field Authorization (RFC 9110, 11.6.2). Two fields are the
// client's error: two readers could use different ones. Basic with neither name nor password counts
// as no credentials: podman sends it when it has none.
//
// Errors: errParameter for two fields, errMalformed for one that cannot be parsed.
func parseAuthorization(values []string) (authorization, error) {
	if len(values) == 0 {
		return authorization{}, nil
	}
	if len(values) > 1 {
		return authorization{}, manifest.Errorf(errParameter, "the request has %d header fields Authorization, one is allowed", len(values))
	}
	kind, rest, _ := strings.Cut(values[0], " ")
	rest = strings.TrimLeft(rest, " ")
	switch {
	case strings.EqualFold(kind, "Bearer"):
		if rest == "" {
			return authorization{}, errNoToken
		}
		return authorization{scheme: schemeBearer, secret: rest}, nil
	case strings.EqualFold(kind, "Basic"):
		text, err := base64.StdEncoding.DecodeString(rest)
		name, secret, ok := strings.Cut(string(text), ":")
		switch {
		case err != nil:
			return authorization{}, errNotBase64
		case !ok:
			return authorization{}, errNoColon
		case name == "" && secret == "":
			return authorization{}, nil
		}
		return authorization{scheme: schemeBasic, name: name, secret: secret}, nil
	}
	return authorization{}, errScheme
}

// errNoCredentials is the error of a request without credentials.
var errNoCredentials = errors.New("no credentials")

// authenticate sets the caller from the request's credentials.
// Errors: errNoCredentials, errMalformed, errParameter, token.ErrInvalid, token.ErrExpired, those
// of login.Service and of audit.
func (a *API) authenticate(r *request, op operation) (err error) {
	if r.authorization, err = parseAuthorization(r.Header["Authorization"]); err != nil {
		return err
	}
	switch r.authorization.scheme {
	case schemeBearer:
		a.warnPlainHTTP(r)
		return a.authenticateToken(r, op.element == elemUploadID)
	case schemeBasic:
		a.warnPlainHTTP(r)
		r.caller, err = a.auth.Logins.Login(r.Context(), r.credentials())
		if err != nil || op.permission == auth.None {
			return a.auditLogin(r, r.authorization.name, err)
		}
		return err
	}
	return errNoCredentials
}

// authenticateToken verifies a registry token and looks up its holder as of now. With grace an
// expired token is accepted too: a client that fetches another one after a 401 cannot send the body
// again. Storage ensures that such a token is good only for upload sessions of its own holder.
func (a *API) authenticateToken(r *request, grace bool) error {
	version, err := a.auth.Logins.Version(r.Context())
	if err != nil {
		return fmt.Errorf("reading the version of identities: %w", err)
	}
	grant, err := a.auth.Tokens.Verify(r.Context(), r.authorization.secret, version)
	if err != nil && !(grace && errors.Is(err, token.ErrExpired)) {
		return err
	}
	r.access, r.caller, r.keyID = grant.Access, grant.Identity, grant.KID
	if r.caller.Kind == auth.Anonymous {
		return nil
	}
	// If the holder no longer exists, r.caller stays the identity in the token, for the audit.
	current, err := a.auth.Logins.Current(r.Context(), grant.Identity, version)
	if err == nil {
		r.caller = current
	}
	return err
}

// authenticationError turns an error of authenticate into the one that is answered.
func (a *API) authenticationError(w *web.Response, r *request, p auth.Permission, err error) error {
	switch {
	case errors.Is(err, errNoCredentials):
		return a.unauthorized(w, r, noError, "authentication required", r.requiredAccess(p))
	case errors.Is(err, errMalformed):
		a.auditDenial(r, p, err.Error())
		return a.unauthorized(w, r, invalidToken, err.Error(), r.requiredAccess(p))
	case errors.Is(err, token.ErrInvalid), errors.Is(err, token.ErrExpired),
		r.authorization.scheme == schemeBearer && errors.Is(err, auth.ErrCredentials):
		a.auditDenial(r, p, err.Error())
		return a.unauthorized(w, r, invalidToken,
			"the token is not valid here, or no longer: fetch another one", r.requiredAccess(p))
	case errors.Is(err, auth.ErrCredentials):
		return a.unauthorized(w, r, invalidToken, auth.ErrCredentials.Error(), r.requiredAccess(p))
	}
	return loginError(w, err)
}

// loginError turns an auth.TooManyError into an answer with Retry-After. It returns other errors as
// they are.
func loginError(w *web.Response, err error) error {
	if tooMany, ok := errors.AsType[*auth.TooManyError](err); ok {
		seconds := max(int(math.Ceil(tooMany.Wait.Seconds())), 1)
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
		return manifest.Errorf(errTooManyLogins, "too many attempts to log in: try again in %d s", seconds)
	}
	return err
}

// plainWarningInterval is the minimum time between two warnings about plain HTTP.
const plainWarningInterval = time.Hour

// warnPlainHTTP logs, at most once in plainWarningInterval, that a secret crossed the network
// without encryption. The request is still answered, since the secret is disclosed already.
func (a *API) warnPlainHTTP(r *request) {
	o := r.origin
	if r.TLS != nil || o.Proxied || o.Addr.IsLoopback() || !o.Addr.IsValid() {
		return
	}
	now, last := a.options.Now().UnixNano(), a.plainWarnedAt.Load()
	if last != 0 && now-last < int64(plainWarningInterval) || !a.plainWarnedAt.CompareAndSwap(last, now) {
		return
	}
	a.log.Warn("credentials arrive over plain HTTP from beyond this host, for everyone on the way to read: set tls.certificate and tls.key, or http.trusted_proxies to the proxy that has them",
		"id", r.id, "remote", o.Addr.String())
}
