package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/rows"
)

const (
	ownerFlag   = "owner"
	scopeFlag   = "scope"
	expiresFlag = "expires"
	nameFlag    = "name"
	cidrFlag    = "cidr"

	day           = 24 * time.Hour
	defaultExpiry = "90d"
	maxExpiry     = 366 * day

	maxTokenName = 128 // bytes
)

func (c *console) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Create, list and revoke tokens that stand for a password",
		Long: "A token lets its owner log in without the password, for a while and for no more than its scope. It goes with its owner.\n" +
			"It may be changed beside a running server, for which it counts from the next request on.",
	}
	cmd.AddCommand(c.tokenCreateCommand(), c.tokenListCommand(), c.tokenRevokeCommand())
	return cmd
}

// tokenFlags are what a new token may do, from where, and until when.
func tokenFlags(flags *pflag.FlagSet) {
	flags.StringArray(scopeFlag, nil, "what the token may do at most, as repository:PATTERN:ACTIONS or registry:catalog:*; may be repeated")
	flags.String(expiresFlag, defaultExpiry, "how long the token is good for, as 90d or 12h; 366d at most")
	flags.String(nameFlag, "", "what to call the token in lists")
	flags.StringArray(cidrFlag, nil, "address or network that the token may be used from; may be repeated")
}

// newToken makes a token of what tokenFlags say, without an owner.
func newToken(flags *pflag.FlagSet, now time.Time) (t rows.AuthToken, err error) {
	scopes, err := flags.GetStringArray(scopeFlag)
	if err != nil {
		return t, err
	}
	if len(scopes) == 0 {
		return t, errors.New("--scope is missing: it says what the token may do at most, for example --scope 'repository:team/**:pull,push'; " +
			"all that its owner may is --scope 'repository:**:* registry:catalog:*'")
	}
	scope, err := auth.ParseScope(strings.Join(scopes, " "))
	if err != nil {
		return t, fmt.Errorf("--%s: %w", scopeFlag, err)
	}
	expires, err := flags.GetString(expiresFlag)
	if err != nil {
		return t, err
	}
	lifetime, err := parseExpiry(expires)
	if err != nil {
		return t, fmt.Errorf("--%s: %w", expiresFlag, err)
	}
	t.Scope, t.CreatedAt, t.ExpiresAt = scope.String(), now.UnixMicro(), now.Add(lifetime).UnixMicro()
	if t.Name, err = flags.GetString(nameFlag); err != nil {
		return t, err
	}
	if len(t.Name) > maxTokenName || strings.ContainsFunc(t.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return t, fmt.Errorf("--%s: expected at most %d printable characters", nameFlag, maxTokenName)
	}
	t.CIDRs, err = tokenCIDRs(flags)
	return t, err
}

func tokenCIDRs(flags *pflag.FlagSet) ([]string, error) {
	given, err := flags.GetStringArray(cidrFlag)
	if err != nil {
		return nil, err
	}
	var cidrs []string
	for _, text := range given {
		network, err := auth.ParseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", cidrFlag, err)
		}
		cidrs = append(cidrs, network.String())
	}
	return cidrs, nil
}

// parseExpiry reads how long a token is good for: days ("90d"), or a duration as Go has it.
func parseExpiry(text string) (time.Duration, error) {
	lifetime, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		lifetime = time.Duration(n) * day
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q: expected days as %s, or hours and minutes as 12h30m", text, defaultExpiry)
	case lifetime < time.Minute || lifetime > maxExpiry:
		return 0, fmt.Errorf("%q: a token is good for a minute to %d days", text, maxExpiry/day)
	}
	return lifetime, nil
}

func (c *console) tokenCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create a token and print it, this once",
		Long: "Creates a token of a user, or of a robot by its user name robot+NAME, and prints it to standard output. It is not kept,\n" +
			"only what it takes to know it again. With it one logs in under its owner's user name, or _token.",
		Example: "  berth token create --owner alice --scope 'repository:team-a/**:pull' --expires 90d",
		Args:    cobra.NoArgs,
	}
	rowsFlags(cmd.Flags())
	tokenFlags(cmd.Flags())
	owner := cmd.Flags().String(ownerFlag, "", "user whose token it is, or robot+NAME")
	cmd.MarkFlagRequired(ownerFlag) // fails for no flag of that name
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := newToken(cmd.Flags(), time.Now())
		if err != nil {
			return err
		}
		return c.withRows(cmd, func(db *rows.DB, _ *loaded) error {
			a, err := findOwner(cmd.Context(), db, *owner)
			if err != nil {
				return err
			}
			return c.createToken(cmd, db, a, t)
		})
	}
	return cmd
}

// findOwner returns the account of a user name.
func findOwner(ctx context.Context, db *rows.DB, name string) (rows.Account, error) {
	if robot, ok := strings.CutPrefix(name, login.RobotPrefix); ok {
		return findAccount(ctx, db, auth.Robot, robot)
	}
	return findAccount(ctx, db, auth.User, name)
}

// createToken makes a token of an account, which is made too if it has no ID, and prints it.
func (c *console) createToken(cmd *cobra.Command, db *rows.DB, owner rows.Account, t rows.AuthToken) error {
	kind := login.PersonalToken
	if owner.Kind == string(auth.Robot) {
		kind = login.RobotToken
	}
	secret, hash := login.NewSecret(kind)
	t.Kind, t.Hash = string(kind), hash
	err := db.Tx(cmd.Context(), func(tx *rows.Tx) (err error) {
		t.AccountID = owner.ID
		if owner.ID == 0 {
			if t.AccountID, err = tx.CreateAccount(owner); err != nil {
				return err
			}
		}
		t.ID, err = tx.CreateAuthToken(t)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return errTaken(owner)
	case err != nil:
		return fmt.Errorf("creating the token: %w", err)
	}
	info := newTokenInfo(t, loginName(owner))
	fmt.Fprintf(c.stderr, "token %d of %s, good until %s; this is the only time it is shown:\n", info.ID, info.Owner, info.Expires.Format(time.DateTime+" MST"))
	return c.say(cmd, struct {
		tokenInfo
		Token string `json:"token"`
	}{info, secret}, "%s", secret)
}

// loginName is what an account logs in as.
func loginName(a rows.Account) string {
	if a.Kind == string(auth.Robot) {
		return login.RobotPrefix + a.Name
	}
	return a.Name
}

func (c *console) tokenListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens, and the sessions of CI jobs",
		Args:  cobra.NoArgs,
	}
	rowsFlags(cmd.Flags())
	owner := cmd.Flags().String(ownerFlag, "", "only those of this user, or robot+NAME")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withRows(cmd, func(db *rows.DB, _ *loaded) error {
			var of rows.Account
			if *owner != "" {
				var err error
				if of, err = findOwner(cmd.Context(), db, *owner); err != nil {
					return err
				}
			}
			list, err := listTokens(cmd.Context(), db, of.ID)
			if err != nil {
				return err
			}
			return c.show(cmd, list, tokenTable(list, time.Now()))
		})
	}
	return cmd
}

// listTokens returns the tokens of an account, or all if it is 0.
func listTokens(ctx context.Context, db *rows.DB, account int64) ([]tokenInfo, error) {
	owners := make(map[int64]string)
	for _, kind := range []auth.Kind{auth.User, auth.Robot} {
		if err := eachAccount(ctx, db, kind, func(a rows.Account) { owners[a.ID] = loginName(a) }); err != nil {
			return nil, err
		}
	}
	list := []tokenInfo{}
	for last := int64(0); ; {
		page, err := db.AuthTokens(ctx, account, last, listPage)
		if err != nil {
			return nil, fmt.Errorf("reading the tokens: %w", err)
		}
		for _, t := range page {
			list = append(list, newTokenInfo(t, owners[t.AccountID]))
			last = t.ID
		}
		if len(page) < listPage {
			return list, nil
		}
	}
}

func tokenTable(list []tokenInfo, now time.Time) table {
	t := table{head: []string{"ID", "KIND", "OWNER", "NAME", "SCOPE", "FROM", "EXPIRES", "LAST USED"}}
	for _, info := range list {
		expires := info.Expires.Format("2006-01-02 15:04")
		if !now.Before(info.Expires) {
			expires = "expired"
		}
		used := ""
		if info.LastUsed != nil {
			used = info.LastUsed.Format("2006-01-02 15h")
		}
		t.add(strconv.FormatInt(info.ID, 10), info.Kind, info.Owner, info.Name, info.Scope, strings.Join(info.CIDRs, ","), expires, used)
	}
	return t
}

func (c *console) tokenRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke ID",
		Short: "Revoke a token, or end a session, for good",
		Args:  cobra.ExactArgs(1),
	}
	rowsFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return errors.New("expected the number of a token, as berth token list shows it")
		}
		return c.withRows(cmd, func(db *rows.DB, _ *loaded) error {
			if err := revokeToken(cmd.Context(), db, id); err != nil {
				return err
			}
			return c.say(cmd, map[string]int64{"revoked": id}, "revoked token %d", id)
		})
	}
	return cmd
}

func revokeToken(ctx context.Context, db *rows.DB, id int64) error {
	err := db.Tx(ctx, func(tx *rows.Tx) error { return tx.DeleteAuthToken(id) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no token %d", id)
	case err != nil:
		return fmt.Errorf("revoking token %d: %w", id, err)
	}
	return nil
}

// tokenInfo is a token as commands print it.
type tokenInfo struct {
	ID       int64      `json:"id"`
	Kind     string     `json:"kind"`
	Owner    string     `json:"owner"`
	Name     string     `json:"name"`
	Scope    string     `json:"scope"`
	CIDRs    []string   `json:"cidrs"`
	Created  time.Time  `json:"created"`
	Expires  time.Time  `json:"expires"`
	LastUsed *time.Time `json:"last_used"`
}

func newTokenInfo(t rows.AuthToken, owner string) tokenInfo {
	info := tokenInfo{
		ID: t.ID, Kind: t.Kind, Owner: owner, Name: t.Name, Scope: t.Scope, CIDRs: append([]string{}, t.CIDRs...),
		Created: time.UnixMicro(t.CreatedAt).UTC(), Expires: time.UnixMicro(t.ExpiresAt).UTC(),
	}
	if t.UsedAt != 0 {
		used := time.UnixMicro(t.UsedAt).UTC()
		info.LastUsed = &used
	}
	return info
}
