package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/policy"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/manifest"
)

// question is one question to the policy: whether an identity may perform an action.
type question struct {
	who        string // the identity as given
	id         auth.Identity
	from       netip.Addr
	action     auth.Permission // "": no action, only the identity
	repository string

	policy   *policy.Policy
	open     string // why authentication is off, "" if it is on
	disabled bool   // the account is disabled
}

// readQuestion reads the arguments, the flags, the policy, and the identity's account from the
// database.
func (c *console) readQuestion(cmd *cobra.Command, args []string) (*question, error) {
	q := &question{who: args[0]}
	if err := q.read(cmd.Flags(), args); err != nil {
		return nil, err
	}
	l, err := config.Load(cmd.Flags(), c.environ)
	if err != nil {
		return nil, err
	}
	store, err := policy.Open(l.Auth.Policy)
	if err != nil {
		return nil, fmt.Errorf("auth.policy: %w", err)
	}
	q.policy = store.Current()
	if q.id.Kind == auth.CI && !slices.ContainsFunc(q.policy.Issuers(), func(i auth.Issuer) bool { return i.Name == q.id.Issuer }) {
		return nil, fmt.Errorf("the policy has no issuer %s", q.id.Issuer)
	}
	return q, c.addState(cmd, l, q)
}

// addState adds what the database has to the question, and whether a server with this configuration
// has authentication on.
func (c *console) addState(cmd *cobra.Command, l *config.Loaded, q *question) error {
	a := l.Auth
	on := a.WantsAuth() || !isLoopback(l.HTTP.Addr)
	if !l.InMemory() {
		recorded, err := c.readState(cmd, l, q)
		if err != nil {
			return err
		}
		on = on || recorded
	}
	switch {
	case a.Mode == config.ModeNone:
		q.open = "everyone may do everything: auth.mode is none"
	case !on:
		q.open = "everyone who reaches it may do everything: authentication is off until the first user is added"
	}
	return nil
}

// readState adds what the database has of the account to the question. It reports whether the
// database says that authentication is on. There may be no database yet.
func (c *console) readState(cmd *cobra.Command, l *config.Loaded, q *question) (authOn bool, err error) {
	d, err := c.openDatabase(cmd.Context(), l)
	if errors.Is(err, fs.ErrNotExist) {
		if q.hasAccount() {
			fmt.Fprintf(c.stderr, "berth: note: there is no registry in %s yet; groups are those of the policy file and of --%s\n", filepath.Dir(l.DatabaseFile), groupFlag)
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	authOn, err = rows.New(d).AuthEnabled(cmd.Context())
	return authOn, errors.Join(err, c.addAccount(cmd, rows.New(d), q), d.Close())
}

// isLoopback reports whether an address to listen on can be reached only from this machine.
func isLoopback(addr string) bool {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	return err == nil && tcp.IP.IsLoopback()
}

// read reads the arguments and flags of the question itself.
func (q *question) read(flags *pflag.FlagSet, args []string) (err error) {
	if q.id, err = policy.ParseIdentity(q.who); err != nil {
		return err
	}
	if q.id.Groups, err = flags.GetStringArray(groupFlag); err != nil {
		return err
	}
	if err := q.readClaims(flags); err != nil {
		return err
	}
	ip, err := flags.GetString(ipFlag)
	if err != nil {
		return err
	}
	if ip != "" {
		if q.from, err = netip.ParseAddr(ip); err != nil {
			return fmt.Errorf("--%s: %q is no address", ipFlag, ip)
		}
	}
	if len(args) > 1 {
		return q.readAction(args[1], args[2:])
	}
	return nil
}

func (q *question) readClaims(flags *pflag.FlagSet) error {
	pairs, err := flags.GetStringArray(claimFlag)
	if err != nil {
		return err
	}
	if len(pairs) > 0 && q.id.Kind != auth.CI {
		return fmt.Errorf("--%s: only CI jobs have claims: expected an identity oidc:ISSUER", claimFlag)
	}
	q.id.Claims = make(map[string][]string)
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return fmt.Errorf("--%s: %q is not NAME=VALUE", claimFlag, pair)
		}
		q.id.Claims[name] = append(q.id.Claims[name], value)
	}
	return nil
}

// readAction reads an action and its repository. The catalog has no repository.
func (q *question) readAction(action string, repository []string) error {
	q.action = auth.Permission(action)
	switch q.action {
	case auth.Catalog:
		if len(repository) > 0 {
			return errors.New("the catalog is of no repository: leave it out")
		}
		return nil
	case auth.Pull, auth.Push, auth.Delete:
		if len(repository) == 0 {
			return fmt.Errorf("%s wants a repository", action)
		}
		q.repository = repository[0]
		return manifest.CheckName(q.repository)
	}
	return fmt.Errorf("%q is no action: expected pull, push, delete or catalog", action)
}

// hasAccount reports whether the identity is one that has an account in the database.
func (q *question) hasAccount() bool { return q.id.Kind == auth.User || q.id.Kind == auth.Robot }

// addAccount adds what the database has of a user or robot to the question. Users of htpasswd files
// have no account in it.
func (c *console) addAccount(cmd *cobra.Command, accounts *rows.DB, q *question) error {
	if !q.hasAccount() {
		return nil
	}
	a, err := accounts.Account(cmd.Context(), string(q.id.Kind), q.id.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(c.stderr, "berth: note: the database has no %s %q; its groups are those of the policy file and of --%s\n", q.id.Kind, q.id.Name, groupFlag)
		return nil
	case err != nil:
		return fmt.Errorf("reading the %s %q: %w", q.id.Kind, q.id.Name, err)
	}
	q.disabled = a.Disabled
	q.id.ID = strconv.FormatInt(a.ID, 10)
	q.id.Groups = append(a.Groups, q.id.Groups...)
	slices.Sort(q.id.Groups)
	q.id.Groups = slices.Compact(q.id.Groups)
	return nil
}
