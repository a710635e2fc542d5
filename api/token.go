package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/token"
	"github.com/berth-registry/berth/manifest"
)

const (
	maxTokenURL  = 32 << 10
	maxTokenForm = 64 << 10
)

// The grant types and token types of RFC 6749 and RFC 8693 that postToken supports.
const (
	grantPassword = "password"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeIDToken   = "urn:ietf:params:oauth:token-type:id_token"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
)

// tokenAnswer is the answer with a registry token. The token is there twice, under Docker's name
// and under OAuth's. There is no issued_at: clients with a wrong clock would count the lifetime
// from it.
type tokenAnswer struct {
	Token       string  `json:"token"`
	AccessToken string  `json:"access_token"`
	ExpiresIn   int64   `json:"expires_in"` // seconds
	Scope       *string `json:"scope,omitempty"`
	TokenType   string  `json:"token_type,omitempty"`
}

// loginSessionAnswer is the answer with the login session of a CI job (RFC 8693, 2.2).
type loginSessionAnswer struct {
	AccessToken     string `json:"access_token"` // the session's secret, used as a password
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type"` // "N_A": not a Bearer token
	ExpiresIn       int64  `json:"expires_in"`
	Username        string `json:"username"`
}

// getToken issues a registry token for the scopes in the query. Its holder is authenticated by
// Basic credentials, or anonymous without any (Docker's token specification).
func (a *API) getToken(w *web.Response, r *request) error {
	if len(r.RequestURI) > maxTokenURL {
		return a.tokenError(w, r, manifest.Errorf(errParameter, "the URL has %d bytes, at most %d are taken", len(r.RequestURI), maxTokenURL))
	}
	q, err := r.parameters()
	if err == nil {
		r.authorization, err = parseAuthorization(r.Header["Authorization"])
	}
	if err == nil && r.authorization.scheme == schemeBearer {
		err = errBearer // a token that could be exchanged for another would never expire
	}
	if err == nil {
		err = a.issueToken(w, r, q, false)
	}
	return a.tokenError(w, r, err)
}

// postToken issues a registry token for a password in a form (RFC 6749, 4.3), or exchanges the ID
// token of a CI job for a login session (RFC 8693). It ignores the query, so that a request has one
// meaning.
func (a *API) postToken(w *web.Response, r *request) error {
	if err := r.checkEncoding(w); err != nil {
		return a.tokenError(w, r, err)
	}
	form, err := r.form()
	if err != nil {
		return a.tokenError(w, r, err)
	}
	grant, err := form.single("grant_type", errParameter)
	switch {
	case err != nil:
	case len(r.Header["Authorization"]) > 0:
		err = manifest.Errorf(errParameter, "credentials come in the form or in Authorization, not in both")
	case grant == grantPassword:
		if err = form.credentials(&r.authorization); err == nil {
			err = a.issueToken(w, r, form, true)
		}
	case grant == grantExchange:
		err = a.exchangeIDToken(w, r, form)
	default:
		err = manifest.Errorf(errGrantType, "the grant type is %q, expected %s or %s", web.Shorten(grant), grantPassword, grantExchange)
	}
	return a.tokenError(w, r, err)
}

// form parses the form in the request's body.
func (r *request) form() (parameters, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return nil, manifest.Errorf(errParameter, "the body must be a form, of type application/x-www-form-urlencoded")
	}
	if r.body == nil {
		return nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(r.body, maxTokenForm+1))
	if err != nil {
		return nil, manifest.Errorf(errParameter, "the body ended after %d bytes", r.body.Received())
	}
	if len(text) > maxTokenForm {
		return nil, manifest.Errorf(errParameter, "the form has more than %d bytes", maxTokenForm)
	}
	values, err := url.ParseQuery(string(text))
	if err != nil { // not in the answer: its text contains parts of the form
		return nil, manifest.Errorf(errParameter, "the form is malformed")
	}
	return parameters(values), nil
}

// credentials sets s to the user name and password of a form, and leaves it unchanged when both are
// empty.
func (p parameters) credentials(s *authorization) error {
	name, err := p.single("username", errParameter)
	if err != nil {
		return err
	}
	password, err := p.single("password", errParameter)
	if err == nil && (name != "" || password != "") {
		*s = authorization{scheme: schemeBasic, name: name, secret: password}
	}
	return err
}

// issueToken authenticates the caller and answers with a registry token for the requested access,
// as far as the policy gives it. The parameters account and client_id prove nothing and are
// ignored.
func (a *API) issueToken(w *web.Response, r *request, q parameters, form bool) error {
	if service, err := q.single("service", errParameter); err != nil {
		return err
	} else if service != "" && service != a.auth.Tokens.Service() {
		return manifest.Errorf(errParameter, "the service is %q, this registry's is %q", web.Shorten(service), a.auth.Tokens.Service())
	}
	asked, err := auth.ParseRequestedAccess(q["scope"])
	if errors.Is(err, auth.ErrTooManyScopes) {
		return manifest.Errorf(errParameter, "the request asks for more than %d scopes", auth.MaxScopes)
	}
	if err != nil {
		return err
	}
	if err := a.logIn(r); err != nil {
		return err
	}
	granted := a.grantedAccess(r, asked)
	signed, err := a.auth.Tokens.Sign(r.Context(), r.caller, granted)
	if errors.Is(err, token.ErrTooLarge) {
		return manifest.Errorf(errParameter, "%v", err)
	}
	if err != nil {
		return err
	}
	if err := a.auditToken(r, signed, asked, granted); err != nil {
		return err
	}
	answer := tokenAnswer{Token: signed.Text, AccessToken: signed.Text, ExpiresIn: int64(signed.Lifetime / time.Second)}
	if form {
		scope := scopeText(granted)
		answer.Scope, answer.TokenType = &scope, "Bearer"
	}
	w.Header()["Cache-Control"] = noStore
	return writeJSON(w, http.StatusOK, "application/json", answer)
}

// logIn authenticates the caller of the token endpoint. Without credentials the caller is
// anonymous, but wrong credentials are an error.
func (a *API) logIn(r *request) (err error) {
	if r.authorization.scheme == schemeNone {
		r.caller = auth.Identity{Kind: auth.Anonymous}
		if !a.policy.AllowsAnonymous() {
			return errNoCredentials
		}
		return nil
	}
	a.warnPlainHTTP(r)
	r.caller, err = a.auth.Logins.Login(r.Context(), r.credentials())
	return a.auditLogin(r, r.authorization.name, err)
}

// grantedAccess returns the part of the requested access that the policy gives.
func (a *API) grantedAccess(r *request, asked []auth.Access) []auth.Access {
	granted := []auth.Access{}
	for _, want := range asked {
		got := auth.Access{Type: want.Type, Name: want.Name}
		for _, action := range want.Actions {
			p, repo := auth.Permission(action), want.Name
			if want.Type == "registry" {
				p, repo = auth.Catalog, ""
			}
			if a.policyAllows(r, p, repo) {
				got.Actions = append(got.Actions, action)
			}
		}
		if len(got.Actions) > 0 {
			granted = append(granted, got)
		}
	}
	return granted
}

// exchangeIDToken opens a login session for a CI job that sends an ID token.
func (a *API) exchangeIDToken(w *web.Response, r *request, form parameters) error {
	kind, err := form.single("subject_token_type", errParameter)
	if err != nil {
		return err
	}
	if kind != typeIDToken {
		return manifest.Errorf(errParameter, "subject_token_type is %q, expected %s", web.Shorten(kind), typeIDToken)
	}
	idToken, err := form.single("subject_token", errParameter)
	if err != nil {
		return err
	}
	r.authorization = authorization{scheme: schemeBasic, name: "oidc", secret: idToken}
	a.warnPlainHTTP(r)
	if err := a.awaitAuditRoom(r); err != nil {
		return err // before the ID token, which is good for one session, is used up
	}
	session, err := a.auth.Logins.Exchange(r.Context(), idToken, r.origin.Addr, 0)
	r.caller = session.Identity
	if err := a.auditLogin(r, r.authorization.name, err); err != nil {
		return err
	}
	if err := a.auditLoginSession(r, session); err != nil {
		return err
	}
	w.Header()["Cache-Control"] = noStore
	return writeJSON(w, http.StatusOK, "application/json", loginSessionAnswer{
		AccessToken: session.Secret, IssuedTokenType: typeAccess, TokenType: "N_A",
		ExpiresIn: int64(session.Expires.Sub(a.options.Now()) / time.Second), Username: "_token",
	})
}

// tokenError turns an error of the token endpoint into one that its clients understand: with a
// Basic challenge instead of a Bearer one, and with OAuth's fields in the body.
func (a *API) tokenError(w *web.Response, r *request, err error) error {
	if err == nil {
		return nil
	}
	r.oauthErrors = true
	w.Header()["Cache-Control"] = noStore
	switch {
	case errors.Is(err, errNoCredentials), errors.Is(err, errMalformed), errors.Is(err, auth.ErrCredentials):
		w.Header()["Www-Authenticate"] = []string{`Basic realm=` + strconv.Quote(a.auth.Tokens.Service())}
		message := auth.ErrCredentials.Error()
		switch {
		case errors.Is(err, errMalformed):
			message = err.Error()
		case errors.Is(err, errNoCredentials):
			message = "authentication required: log in with a user name and password"
		}
		return manifest.Errorf(errUnauthorized, "%s", message)
	}
	return loginError(w, err)
}

// oauthCode returns the code of RFC 6749, 5.2, for a problem.
func oauthCode(p problem) string {
	switch {
	case p.kind == errGrantType:
		return "unsupported_grant_type"
	case p.status == http.StatusUnauthorized:
		return "invalid_client"
	case p.status == http.StatusBadRequest, p.status == http.StatusUnsupportedMediaType:
		return "invalid_request"
	case p.status == http.StatusTooManyRequests, p.status == http.StatusServiceUnavailable:
		return "temporarily_unavailable"
	}
	return "server_error"
}
