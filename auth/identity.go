package auth

import (
	"net/netip"
	"slices"
	"time"
)

// Kind is the kind of an identity. It is always a separate field and never derived from a name.
type Kind string

const (
	// Anonymous is a client without credentials.
	Anonymous Kind = "anonymous"
	// User is a person.
	User Kind = "user"
	// Robot is a program with its own account.
	Robot Kind = "robot"
	// CI is a job that an OIDC issuer vouches for.
	CI Kind = "oidc"
)

// Identity is an authenticated caller. The zero value is unauthenticated: every policy but Open
// denies it.
type Identity struct {
	Kind Kind
	// Name is the user or robot name, without a prefix. For a CI identity it is made from claims by
	// the issuer's template. It is empty for Anonymous.
	Name string
	// ID is never reused, whereas a Name may be given to another account after a removal. It is the
	// id of the account's row ("17"), the word "htpasswd", or a hash of the issuer and subject of a
	// CI job.
	ID string
	// Issuer is the configured name of a CI identity's issuer.
	Issuer string
	Groups []string
	// Claims are the claims of a CI identity, with numbers and booleans as text.
	Claims map[string][]string
	// Credential is what the identity was authenticated with: "password", "token:12", "session:5",
	// "id_token". It is not secret.
	Credential string
	// Stamp is the security stamp of the credential: it changes when the credential changes, for
	// example with a new password. It is not secret.
	Stamp string
	// Scope limits what the identity may do, whatever the policy allows; nil means no limit.
	Scope Scope
	// Networks are the networks from which the credential may be used, checked on each request;
	// none means everywhere.
	Networks []netip.Prefix
	// Expires is when the credential expires; zero for a password.
	Expires time.Time
}

// Subject returns the kind and name in one word: "user:alice", "robot:deployer",
// "oidc:github/acme/app". It is the `sub` of registry tokens and appears in the history of tags.
// Identities of different kinds never have the same subject. It is empty for an unauthenticated or
// anonymous identity.
func (id Identity) Subject() string {
	switch id.Kind {
	case Anonymous, "":
		return ""
	case CI:
		return string(id.Kind) + ":" + id.Issuer + "/" + id.Name
	default:
		return string(id.Kind) + ":" + id.Name
	}
}

// Owner returns Subject with the ID, so that a new account is not taken for a removed one of the
// same name. It is empty for an unauthenticated or anonymous identity.
func (id Identity) Owner() string {
	if subject := id.Subject(); subject != "" {
		return subject + "#" + id.ID
	}
	return ""
}

// AllowedFrom reports whether the credential may be used from an address. A credential that is
// bound to networks may not be used from an unknown address.
func (id Identity) AllowedFrom(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	return len(id.Networks) == 0 || slices.ContainsFunc(id.Networks, func(n netip.Prefix) bool { return n.Contains(from) })
}

// ClientNetwork returns the network that limits count as one client: a single IPv4 address, or the
// /64 of an IPv6 address, which usually belongs to one customer. It returns the zero Prefix for the
// zero Addr.
func ClientNetwork(from netip.Addr) netip.Prefix {
	from = from.Unmap()
	bits := 64
	if from.Is4() {
		bits = 32
	}
	p, _ := from.Prefix(bits) // fails for the zero address only
	return p
}

// TooManyError is an ErrTooMany with the time to wait before the next attempt.
type TooManyError struct{ Wait time.Duration }

func (e *TooManyError) Error() string { return ErrTooMany.Error() }

func (e *TooManyError) Unwrap() error { return ErrTooMany }
