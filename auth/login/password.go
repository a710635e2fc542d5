package login

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
)

const (
	// slotWait is the longest wait for a slot to check a password in.
	slotWait = 2 * time.Second

	passwordCredential = "password" // Identity.Credential of a user with a password
)

// passwordSource is the auth.Source of users with passwords. To refuse a password takes the same
// work, one bcrypt run of the highest cost in use, for all users and for unknown names.
type passwordSource struct {
	rows    *rows.DB
	files   *htpasswdFiles
	guard   *guard
	flights singleflight.Group // keyed by fingerprint and network
	slots   chan struct{}      // one element for each check in progress
	compare func(hash, password []byte) error
}

// user is a user who can log in with a password.
type user struct {
	id       auth.Identity
	hash     string // "" if the user does not exist
	disabled bool
}

func newPasswordSource(o Options, files *htpasswdFiles, g *guard) *passwordSource {
	return &passwordSource{
		rows: o.Rows, files: files, guard: g,
		slots: make(chan struct{}, o.BcryptRuns), compare: o.Compare,
	}
}

// Name returns "password".
func (p *passwordSource) Name() string { return passwordCredential }

// Authenticate accepts a user name with a password. Names that no user can have, and secrets with
// the prefix of a token, are auth.ErrNotMine.
func (p *passwordSource) Authenticate(ctx context.Context, c auth.Credentials) (auth.Identity, error) {
	if isToken(c.Secret) || auth.CheckAccountName(c.Name) != nil {
		return auth.Identity{}, auth.ErrNotMine
	}
	if checkPassword(c.Secret) != nil {
		return auth.Identity{}, p.guard.refuseRepeated(c, auth.ErrCredentials)
	}
	proof, err := p.proofOf(ctx, c)
	if err != nil {
		return auth.Identity{}, err
	}
	// What follows reads the user's row and groups, which takes longer if there are any. So what is
	// refused without a run of bcrypt is refused before; once after a change of accounts it is not.
	switch {
	case p.guard.recallBad(proof.bad):
		return auth.Identity{}, auth.ErrCredentials
	case !p.guard.presented(proof.presented, c.From):
		if err := p.guard.hasAttempts(c.From); err != nil {
			return auth.Identity{}, err
		}
	}
	u, err := p.find(ctx, c.Name)
	if err != nil {
		return auth.Identity{}, err
	}
	good, err := p.verify(ctx, c, u, proof)
	switch {
	case err != nil:
		return auth.Identity{}, err
	case !good || !u.mayLogIn(): // a shared result may be of a moment before
		return auth.Identity{}, auth.ErrCredentials
	}
	return u.id, nil
}

// proof has the fingerprints of credentials.
type proof struct {
	presented fingerprint // of name and password alone
	// bad is the fingerprint under which the password is known as wrong before the user is read. It
	// has the version of the accounts, so that a changed one is compared again, and no hash.
	bad fingerprint
	// compared has the hash that the password is compared with; "" if the user may not log in.
	// The password is remembered as right or wrong under it, whatever changes for others. verify
	// sets it.
	compared fingerprint
}

// proofOf returns the proof of credentials, without the compared fingerprint.
func (p *passwordSource) proofOf(ctx context.Context, c auth.Credentials) (proof, error) {
	files := p.files.generation() // before the users are read, as is the version
	version, err := p.rows.AuthVersion(ctx)
	if err != nil {
		return proof{}, unavailable("reading the version of the accounts", err)
	}
	return proof{
		presented: p.guard.fingerprint(c, "presented"),
		bad:       p.guard.fingerprint(c, fmt.Sprintf("bad at %d.%d", version, files)),
	}, nil
}

// Current returns the identity as it is now, unless the user was removed or disabled or the
// password was changed.
func (p *passwordSource) Current(ctx context.Context, id auth.Identity) (auth.Identity, error) {
	if id.Kind != auth.User || id.Credential != passwordCredential {
		return auth.Identity{}, auth.ErrNotMine
	}
	u, err := p.find(ctx, id.Name)
	switch {
	case err != nil:
		return auth.Identity{}, err
	case u.hash == "" || u.id.ID != id.ID:
		return auth.Identity{}, fmt.Errorf("%w: the user is gone", auth.ErrCredentials)
	case u.disabled:
		return auth.Identity{}, fmt.Errorf("%w: the user is disabled", auth.ErrCredentials)
	case u.id.Stamp != id.Stamp:
		return auth.Identity{}, fmt.Errorf("%w: the password was changed", auth.ErrCredentials)
	}
	return u.id, nil
}

// find returns the user with this name; without a hash if there is none. A user of the database
// shadows the user of the same name in a file.
func (p *passwordSource) find(ctx context.Context, name string) (user, error) {
	a, err := p.rows.Account(ctx, string(auth.User), name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		u, _ := p.files.find(name)
		return u, nil
	case err != nil:
		return user{}, unavailable("reading an account", err)
	}
	p.files.warnShadowed(name)
	id := accountIdentity(a)
	id.Credential, id.Stamp = passwordCredential, strconv.FormatInt(a.Stamp, 10)
	return user{id: id, hash: a.PasswordHash, disabled: a.Disabled}, nil
}

// accountIdentity returns the part of the identity that all credentials of an account share.
func accountIdentity(a rows.Account) auth.Identity {
	return auth.Identity{Kind: auth.Kind(a.Kind), Name: a.Name, ID: strconv.FormatInt(a.ID, 10), Groups: a.Groups}
}

// verify reports whether the password is correct and the user may log in. It uses a remembered
// result if there is one, and shares the work with concurrent requests for the same credentials and
// network.
func (p *passwordSource) verify(ctx context.Context, c auth.Credentials, u user, of proof) (bool, error) {
	of.compared = p.guard.fingerprint(c, u.usableHash())
	if u.mayLogIn() && p.guard.recallFrom(of.compared, of.presented, c.From) {
		return true, nil
	}
	key := string(of.compared[:]) + auth.ClientNetwork(c.From).String()
	ctx = context.WithoutCancel(ctx) // other requests share the result
	good, err, _ := p.flights.Do(key, func() (any, error) { return p.verifyCounted(ctx, c, u, of) })
	if err != nil {
		return false, err
	}
	return good.(bool), nil
}

// mayLogIn reports whether the user exists and is not disabled.
func (u *user) mayLogIn() bool { return u.usableHash() != "" }

// usableHash returns the hash of a user who may log in, or "".
func (u *user) usableHash() string {
	if u.disabled {
		return ""
	}
	return u.hash
}

// verifyCounted takes an attempt and verifies the password. It gives the attempt back if the user
// is let in, or if the password was not compared.
func (p *passwordSource) verifyCounted(ctx context.Context, c auth.Credentials, u user, of proof) (bool, error) {
	if err := p.guard.attempt(c.From); err != nil {
		return false, err
	}
	good, remembered := p.recall(u, of)
	var err error
	if !remembered {
		good, remembered, err = p.verifyInSlot(ctx, u, []byte(c.Secret), of)
	}
	if good || remembered || err != nil {
		p.guard.refund(c.From)
	}
	if good {
		p.guard.admit(of.presented, c.From)
	}
	return good, err
}

// recall returns what is remembered of a password, from any network.
func (p *passwordSource) recall(u user, of proof) (good, remembered bool) {
	if u.mayLogIn() && p.guard.recall(of.compared) {
		return true, true
	}
	return false, p.guard.recallBad(of.bad) || p.guard.recallBadAs(of.compared, of.bad)
}

// verifyInSlot compares the password when there is a slot for it. remembered reports that another
// request did so meanwhile.
func (p *passwordSource) verifyInSlot(
	ctx context.Context, u user, password []byte, of proof,
) (good, remembered bool, err error) {
	if !p.acquireSlot() {
		return false, false, &auth.TooManyError{Wait: slotWait}
	}
	defer func() { <-p.slots }()
	// Another request may have checked the same password meanwhile.
	if good, remembered = p.recall(u, of); remembered {
		return good, true, nil
	}
	good, err = p.comparePadded(ctx, u, password)
	switch {
	case err != nil:
	case good:
		p.guard.remember(of.compared)
	default:
		p.guard.rememberBad(of.bad)
		p.guard.rememberBad(of.compared)
	}
	return good, false, err
}

// acquireSlot takes a slot. It reports false if none becomes free within slotWait.
func (p *passwordSource) acquireSlot() bool {
	timeout := time.NewTimer(slotWait)
	defer timeout.Stop()
	select {
	case p.slots <- struct{}{}:
		return true
	case <-timeout.C:
		return false
	}
}

// comparePadded reports whether a password matches the hash of a user who may log in. If not, the
// work is that of one run with the highest cost in use. Each cost takes twice the work of the cost
// below it. So after a run of cost c, one dummy run each of c, c+1, … up to the one below the
// highest makes the sum the same.
func (p *passwordSource) comparePadded(ctx context.Context, u user, password []byte) (good bool, err error) {
	highest, err := p.highestCost(ctx)
	if err != nil {
		return false, err
	}
	if u.hash == "" {
		return false, p.dummyCompare(highest, password)
	}
	cost, err := bcrypt.Cost([]byte(u.hash))
	if err != nil {
		return false, unavailable("reading the hash of "+u.id.Subject(), err)
	}
	if p.compare([]byte(u.hash), password) == nil && !u.disabled {
		return true, nil
	}
	for ; cost < highest; cost++ {
		if err := p.dummyCompare(cost, password); err != nil {
			return false, err
		}
	}
	return false, nil
}

// dummyCompare spends the time of one bcrypt comparison, so that unknown users cost as much as
// known ones.
func (p *passwordSource) dummyCompare(cost int, password []byte) error {
	if p.compare(fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", 53)), password) == nil {
		return fmt.Errorf("%w: a password fits the hash that none does", auth.ErrUnavailable)
	}
	return nil
}

// highestCost returns the highest bcrypt cost in use; DefaultCost without any passwords.
func (p *passwordSource) highestCost(ctx context.Context) (int, error) {
	cost, err := p.rows.HighestPasswordCost(ctx)
	if err != nil {
		return 0, unavailable("reading the cost of passwords", err)
	}
	if cost = max(cost, p.files.highestCost()); cost == 0 {
		return DefaultCost, nil
	}
	return cost, nil
}
