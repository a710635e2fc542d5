// Package auth defines identities, permissions and the interfaces of authentication and
// authorization. The packages below it implement them:
//
//   - auth/login authenticates passwords and personal tokens.
//   - auth/token issues and verifies registry tokens.
//   - auth/policy decides by the rules of a policy file.
//   - auth/oidc verifies the id_tokens of CI services.
//
// None of them serves HTTP. Package api calls them once for each request, before it reads or
// changes anything.
package auth

import (
	"errors"
	"fmt"
	"net/netip"
)

// Permission is what a request needs in order to be allowed.
type Permission string

const (
	// None is for requests that reveal nothing about any repository.
	None Permission = "none"
	// Pull allows reading a repository: manifests, blobs, tags, referrers.
	Pull Permission = "pull"
	// Push allows writing to a repository, and access to its upload sessions. It implies Pull.
	Push Permission = "push"
	// Delete allows removing manifests, tags and blobs from a repository.
	Delete Permission = "delete"
	// Catalog allows listing the repositories.
	Catalog Permission = "catalog"
)

// Decision is the answer of a policy and its reason.
type Decision struct {
	Allowed bool
	// Rule is the name of the rule that decided or, if none did, the reason in words.
	Rule string
}

// Policy decides which requests are allowed. Implementations are safe for concurrent use.
type Policy interface {
	// Decide reports whether id may use permission p on a repository. from is the client's address,
	// or the zero Addr if it is unknown. The repository's name is well-formed, but the repository
	// may not exist. For Catalog the name is empty. None is always allowed.
	Decide(id Identity, from netip.Addr, p Permission, repository string) Decision
	// View returns the repositories that id may pull from at an address: those for which Decide
	// allows Pull under the current rules.
	View(id Identity, from netip.Addr) View
	// AllowsAnonymous reports whether identities of kind Anonymous may do anything at all.
	AllowsAnonymous() bool
}

// View is the set of repositories that an identity may pull from. It does not follow later changes
// of the policy. The zero View is empty.
type View struct {
	// Key identifies the set, in at most 64 bytes. Views with equal keys contain the same
	// repositories, even if their identities and policies differ.
	Key string
	// Allows reports whether a repository is in the set. It is nil if the set is empty. It is safe
	// for concurrent use.
	Allows func(repository string) bool
}

// Open is the policy of a registry without authentication: every request is allowed.
type Open struct{}

// Decide allows everything.
func (Open) Decide(Identity, netip.Addr, Permission, string) Decision {
	return Decision{Allowed: true, Rule: "open registry"}
}

// View returns all repositories.
func (Open) View(Identity, netip.Addr) View {
	return View{Key: "open", Allows: func(string) bool { return true }}
}

// AllowsAnonymous returns true.
func (Open) AllowsAnonymous() bool { return true }

// The reasons for which authentication fails.
var (
	// ErrCredentials means that the user name, password or token is wrong. It never tells which of
	// them, nor whether the name exists.
	ErrCredentials = errors.New("wrong user name or password")
	// ErrExpired is an ErrCredentials for a credential that is valid except that it has expired.
	ErrExpired = fmt.Errorf("%w: the credential has expired", ErrCredentials)
	// ErrTooMany means that this address, or the whole server, has made too many attempts. See
	// TooManyError for the time to wait.
	ErrTooMany = errors.New("too many attempts")
	// ErrUnavailable means that credentials cannot be checked now, because a service does not
	// respond. It must never be reported to a client as wrong credentials.
	ErrUnavailable = errors.New("identities cannot be checked now")
	// ErrMisconfigured means that credentials cannot be checked until the operator changes the
	// configuration. It must never be reported to a client as wrong credentials.
	ErrMisconfigured = errors.New("this registry cannot check tokens of their issuer as it is configured; its operator finds the reason in the log")
)
