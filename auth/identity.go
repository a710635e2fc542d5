package auth

import (
	"net/netip"
	"slices"
	"time"
)

// Kind is what sort of identity asks. It is a field of its own everywhere, never
// read out of a name.
type Kind string

const (
	// Anonymous is whoever shows nothing.
	Anonymous Kind = "anonymous"
	// User is a person.
	User Kind = "user"
	// Robot is a program with an account of its own.
	Robot Kind = "robot"
	// CI is a job that an OIDC issuer vouches for.
	CI Kind = "oidc"
)

// Identity is who asks, as it was proved. The zero value is nobody, to whom every
// policy but Open refuses everything.
type Identity struct {
	Kind Kind
	// Name is alice, deployer, or what the issuer's template made of the claims; ""
	// for Anonymous. It has no prefix.
	Name string
	// ID is unique for ever, where a Name may be given away again after a removal:
	// the account's row, "17", the word "htpasswd", or the issuer and subject of a
	// CI job.
	ID string
	// Issuer is the configured name of the issuer of a CI identity.
	Issuer string
	Groups []string
	// Claims are those of a CI identity, numbers and booleans as text.
	Claims map[string][]string
	// Credential says what it was proved with: "password", "token:12", "session:5",
	// "id_token". It is no secret.
	Credential string
	// Stamp changes whenever the credential is no longer what it was, as a password
	// does when it is changed. It is no secret.
	Stamp string
	// Scope bounds what may be done whatever the policy says; nil does not.
	Scope Scope
	// Networks are where the credential may be used from, with each request; none means
	// everywhere.
	Networks []netip.Prefix
	// Expires is when the credential ends; zero for a password.
	Expires time.Time
}

// Subject is the identity in one word, for `sub`, for the owner of an upload and
// for the history of tags: "user:alice", "robot:deployer", "oidc:github/acme/app",
// or "" for nobody and Anonymous. Two identities of different kinds never share one.
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

// Owner is Subject with the ID, so that whoever gets a name after its removal is not
// taken for the one before. "" for nobody and Anonymous.
func (id Identity) Owner() string {
	if subject := id.Subject(); subject != "" {
		return subject + "#" + id.ID
	}
	return ""
}

// ComesFrom reports whether the credential may be used from an address. One that is
// bound to networks may not be used from an unknown one.
func (id Identity) ComesFrom(from netip.Addr) bool {
	from = from.Unmap().WithZone("")
	return len(id.Networks) == 0 || slices.ContainsFunc(id.Networks, func(n netip.Prefix) bool { return n.Contains(from) })
}

// Network returns what counts as one place to come from: an IPv4 address, or the /64 of an IPv6 one,
// which is what a single customer has. That of the zero address is the zero prefix.
func Network(from netip.Addr) netip.Prefix {
	from = from.Unmap()
	bits := 64
	if from.Is4() {
		bits = 32
	}
	p, _ := from.Prefix(bits) // fails for the zero address only
	return p
}

// TooManyError is ErrTooMany with the time after which to try again.
type TooManyError struct{ Wait time.Duration }

func (e *TooManyError) Error() string { return ErrTooMany.Error() }

func (e *TooManyError) Unwrap() error { return ErrTooMany }
