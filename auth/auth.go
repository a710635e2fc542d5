// Package auth says who is asking and what they may do, in words that the
// packages below it share: auth/login finds out who asks, auth/token issues and
// verifies Berth's own tokens, auth/policy decides, auth/oidc takes the identity
// tokens of CI services. None of them serves HTTP: package api asks them once
// for each request, before anything is read or changed.
package auth

import (
	"errors"
	"fmt"
	"net/netip"
)

// Permission is what a request needs to be let through.
type Permission string

const (
	// None is needed by what tells nothing of any repository.
	None Permission = "none"
	// Pull reads a repository: manifests, blobs, tags, referrers.
	Pull Permission = "pull"
	// Push writes to a repository, and looks after its upload sessions. Who may
	// push may pull.
	Push Permission = "push"
	// Delete removes manifests, tags and blobs from a repository.
	Delete Permission = "delete"
	// Catalog lists the repositories.
	Catalog Permission = "catalog"
)

// Decision is a policy's answer and where it comes from.
type Decision struct {
	Allowed bool
	// Rule is the name of the rule that decided, or says in words why none did.
	Rule string
}

// Policy decides. An implementation is safe for concurrent use.
type Policy interface {
	// Decide says whether id, coming from an address that may be the zero one
	// where it is not known, has the permission on a repository, whose name is
	// well-formed and may be that of one that does not exist. For Catalog the
	// repository is empty; None is always allowed.
	Decide(id Identity, from netip.Addr, p Permission, repository string) Decision
	// View returns the repositories from which id, coming from that address, may
	// pull by the rules in force: those on which Decide allows Pull.
	View(id Identity, from netip.Addr) View
	// Anonymous says whether an identity of kind Anonymous may do anything at all.
	Anonymous() bool
}

// View is the set of repositories that an identity may pull from. It does not follow
// changes of the policy. The zero View is empty.
type View struct {
	// Key identifies the set, in at most 64 bytes: Views with equal keys have the same
	// repositories, also those of different identities and policies.
	Key string
	// Allows reports whether a repository is in the set; nil if none is. It is safe
	// for concurrent use.
	Allows func(repository string) bool
}

// Open is the policy of a registry without users: everyone may do everything.
type Open struct{}

// Decide allows it.
func (Open) Decide(Identity, netip.Addr, Permission, string) Decision {
	return Decision{Allowed: true, Rule: "open registry"}
}

// View returns all repositories.
func (Open) View(Identity, netip.Addr) View {
	return View{Key: "open", Allows: func(string) bool { return true }}
}

// Anonymous returns true.
func (Open) Anonymous() bool { return true }

// The ways in which a proof of identity fails.
var (
	// ErrCredentials says that name and password, or token, are not right. It
	// never says which, nor whether the name exists.
	ErrCredentials = errors.New("wrong user name or password")
	// ErrExpired is ErrCredentials of a credential that has ended, and of which everything else holds.
	ErrExpired = fmt.Errorf("%w: the credential has expired", ErrCredentials)
	// ErrTooMany says that this address, or the whole server, has had too many
	// attempts; see TooManyError for when to come back.
	ErrTooMany = errors.New("too many attempts")
	// ErrUnavailable says that whoever could tell cannot be reached now. It must
	// never be answered as wrong credentials.
	ErrUnavailable = errors.New("identities cannot be checked now")
)
