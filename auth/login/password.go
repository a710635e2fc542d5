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
	// DefaultCost is the bcrypt cost of a new password: about 0.1 s of one processor.
	DefaultCost = 10
	minCost     = 8
	maxCost     = 14

	maxPasswordBytes = 72 // bytes that bcrypt looks at

	// runWait is how long a password waits to be checked.
	slotWait = 2 * time.Second

	passwordCredential = "password" // the Credential of who showed one
)

// passwords proves users by their passwords. Every check of a wrong one costs the same
// work, that of the highest cost there is, wherever the user is, or is not.
type passwordSource struct {
	rows    *rows.DB
	files   *htpasswdFiles
	guard   *guard
	flights singleflight.Group // of the same credentials from the same address
	slots   chan struct{}      // holds one for each check that runs
	wait    time.Duration
	compare func(hash, password []byte) error
}

// user is a user with a password.
type user struct {
	id       auth.Identity
	hash     string // "" if there is no such user
	disabled bool
}

func newPasswordSource(o Options, files *htpasswdFiles, g *guard) *passwordSource {
	return &passwordSource{rows: o.Rows, files: files, guard: g, slots: make(chan struct{}, o.BcryptRuns), wait: slotWait, compare: o.Compare}
}

// Name returns "password".
func (p *passwordSource) Name() string { return passwordCredential }

// Authenticate takes what can be the name of a user, with a password.
func (p *passwordSource) Authenticate(ctx context.Context, c auth.Credentials) (auth.Identity, error) {
	if isToken(c.Secret) || auth.CheckAccountName(c.Name) != nil {
		return auth.Identity{}, auth.ErrNotMine
	}
	if checkPassword(c.Secret) != nil {
		return auth.Identity{}, p.guard.refuseRepeated(c, auth.ErrCredentials)
	}
	u, err := p.find(ctx, c.Name)
	if err != nil {
		return auth.Identity{}, err
	}
	good, err := p.verify(ctx, c, u)
	switch {
	case err != nil:
		return auth.Identity{}, err
	case !good || u.disabled || u.hash == "":
		return auth.Identity{}, auth.ErrCredentials
	}
	return u.id, nil
}

// Current compares a user with the one that the password proved.
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

// find returns the user of a name, one without a hash where there is none. A user in
// rows wins over one in a file.
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

// accountIdentity is what the holder of any credential of an account is.
func accountIdentity(a rows.Account) auth.Identity {
	return auth.Identity{Kind: auth.Kind(a.Kind), Name: a.Name, ID: strconv.FormatInt(a.ID, 10), Groups: a.Groups}
}

// verify reports whether a password is right. What was found a moment ago is not worked
// out again, and neither is what another request is waiting for.
func (p *passwordSource) verify(ctx context.Context, c auth.Credentials, u user) (bool, error) {
	fp := p.guard.fingerprint(c, u.hash)
	if good, remembered := p.guard.recallFrom(fp, c.From); remembered {
		return good, nil
	}
	key := string(fp[:]) + auth.ClientNetwork(c.From).String()
	ctx = context.WithoutCancel(ctx) // others wait for it too
	good, err, _ := p.flights.Do(key, func() (any, error) { return p.verifyCounted(ctx, c, u, fp) })
	if err != nil {
		return false, err
	}
	return good.(bool), nil
}

// check reports whether a password is right, once the address may make an attempt. Only one that
// was wrong, and was not so a moment ago, has cost it.
func (p *passwordSource) verifyCounted(ctx context.Context, c auth.Credentials, u user, fp fingerprint) (bool, error) {
	if err := p.guard.attempt(c.From); err != nil {
		return false, err
	}
	good, remembered := p.guard.recall(fp)
	var err error
	if !remembered {
		good, remembered, err = p.verifyInSlot(ctx, u, []byte(c.Secret), fp)
	}
	if good || remembered || err != nil {
		p.guard.refund(c.From)
	}
	if good {
		p.guard.admit(fp, c.From)
	}
	return good, err
}

// workOut finds out whether a password is right, once there is a processor for it. It is
// remembered when another request was faster.
func (p *passwordSource) verifyInSlot(ctx context.Context, u user, password []byte, fp fingerprint) (good, remembered bool, err error) {
	if !p.acquireSlot() {
		return false, false, &auth.TooManyError{Wait: p.wait}
	}
	defer func() { <-p.slots }()
	// Meanwhile the same may have come from elsewhere.
	if good, remembered = p.guard.recall(fp); remembered {
		return good, true, nil
	}
	if good, err = p.comparePadded(ctx, u, password); err == nil {
		p.guard.remember(fp, good)
	}
	return good, false, err
}

// enter waits for one of the places in which passwords are checked.
func (p *passwordSource) acquireSlot() bool {
	timeout := time.NewTimer(p.wait)
	defer timeout.Stop()
	select {
	case p.slots <- struct{}{}:
		return true
	case <-timeout.C:
		return false
	}
}

// run compares a password with a user's hash. If that fails, it has cost what
// the highest cost of all does: a cost is twice the one below it, so what is missing
// from one to the highest is one run of each cost from there to just below it.
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
	if p.compare([]byte(u.hash), password) == nil {
		good = true
	}
	if good && !u.disabled {
		return true, nil
	}
	for ; cost < highest; cost++ {
		if err := p.dummyCompare(cost, password); err != nil {
			return false, err
		}
	}
	return good, nil
}

// dummyCompare spends the time of one bcrypt comparison, so that unknown users cost as much as
// known ones.
func (p *passwordSource) dummyCompare(cost int, password []byte) error {
	if p.compare(fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat(".", 53)), password) == nil {
		return fmt.Errorf("%w: a password fits the hash that none does", auth.ErrUnavailable)
	}
	return nil
}

// highestCost is the highest cost of all passwords.
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

// HashPassword makes the hash of a new password. Its error says why there can be none;
// cost is 8 to 14.
func HashPassword(password string, cost int) (string, error) {
	if err := checkPassword(password); err != nil {
		return "", err
	}
	if isToken(password) {
		return "", errors.New("this password begins as tokens do, and would be taken for one")
	}
	if cost < minCost || cost > maxCost {
		return "", fmt.Errorf("bcrypt cost %d: it is %d to %d", cost, minCost, maxCost)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	return string(hash), err
}

// checkPassword returns why a text cannot be a password, or nil.
func checkPassword(password string) error {
	switch {
	case password == "":
		return errors.New("the password is empty")
	case len(password) > maxPasswordBytes:
		return fmt.Errorf("the password has %d bytes: bcrypt takes no more than %d, and would ignore the rest", len(password), maxPasswordBytes)
	case strings.ContainsRune(password, 0):
		return errors.New("the password has a zero byte, at which some programs would end it")
	}
	return nil
}

// compareBcrypt is bcrypt's comparison.
func compareBcrypt(hash, password []byte) error { return bcrypt.CompareHashAndPassword(hash, password) }
