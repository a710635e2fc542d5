package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/account"
)

const (
	ownerFlag   = "owner"
	scopeFlag   = "scope"
	expiresFlag = "expires"
	nameFlag    = "name"
	cidrFlag    = "cidr"
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

// tokenFlags adds the flags of a new token: what it may do, from where, and until when.
func tokenFlags(flags *pflag.FlagSet) {
	flags.StringArray(scopeFlag, nil, "what the token may do at most, as repository:PATTERN:ACTIONS or registry:catalog:*; may be repeated")
	flags.String(expiresFlag, account.DefaultLifetime, "how long the token is good for, as 90d or 12h; 366d at most")
	flags.String(nameFlag, "", "what to call the token in lists")
	flags.StringArray(cidrFlag, nil, "address or network that the token may be used from; may be repeated")
}

// newToken returns the token that the flags of tokenFlags describe.
func newToken(flags *pflag.FlagSet) (t account.TokenOptions, err error) {
	scopes, err := flags.GetStringArray(scopeFlag)
	if err != nil {
		return t, err
	}
	if len(scopes) == 0 {
		return t, errors.New("--scope is missing: it says what the token may do at most, for example --scope 'repository:team/**:pull,push'; " +
			"all that its owner may is --scope 'repository:**:* registry:catalog:*'")
	}
	if t.Scope, err = auth.ParseScope(strings.Join(scopes, " ")); err != nil {
		return t, fmt.Errorf("--%s: %w", scopeFlag, err)
	}
	expires, err := flags.GetString(expiresFlag)
	if err != nil {
		return t, err
	}
	if t.Lifetime, err = account.ParseLifetime(expires); err != nil {
		return t, fmt.Errorf("--%s: %w", expiresFlag, err)
	}
	if t.Name, err = flags.GetString(nameFlag); err != nil {
		return t, err
	}
	if err := account.CheckTokenName(t.Name); err != nil {
		return t, fmt.Errorf("--%s: %w", nameFlag, err)
	}
	t.Networks, err = tokenNetworks(flags)
	return t, err
}

func tokenNetworks(flags *pflag.FlagSet) ([]netip.Prefix, error) {
	given, err := flags.GetStringArray(cidrFlag)
	if err != nil {
		return nil, err
	}
	var networks []netip.Prefix
	for _, text := range given {
		network, err := auth.ParseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", cidrFlag, err)
		}
		networks = append(networks, network)
	}
	return networks, nil
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
	databaseFlags(cmd.Flags())
	tokenFlags(cmd.Flags())
	owner := cmd.Flags().String(ownerFlag, "", "user whose token it is, or robot+NAME")
	cmd.MarkFlagRequired(ownerFlag) // fails only for a flag that does not exist
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		wanted, err := newToken(cmd.Flags())
		if err != nil {
			return err
		}
		return c.withAccounts(cmd, c.openDatabase, func(accounts *account.Service) error {
			a, err := accounts.AccountOf(cmd.Context(), *owner)
			if err != nil {
				return err
			}
			t, secret, err := accounts.CreateToken(cmd.Context(), a, wanted)
			if err != nil {
				return err
			}
			return c.showSecret(cmd, t, secret)
		})
	}
	return cmd
}

// showSecret prints a new token. Standard output gets the secret alone, so that it can be piped.
func (c *console) showSecret(cmd *cobra.Command, t account.Token, secret string) error {
	fmt.Fprintf(c.stderr, "token %d of %s, good until %s; this is the only time it is shown:\n",
		t.ID, t.Owner, t.Expires.Format(time.DateTime+" MST"))
	return c.say(cmd, struct {
		tokenInfo
		Token string `json:"token"`
	}{newTokenInfo(t), secret}, "%s", secret)
}

func (c *console) tokenListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List tokens, and the sessions of CI jobs",
		Args:  cobra.NoArgs,
	}
	databaseFlags(cmd.Flags())
	owner := cmd.Flags().String(ownerFlag, "", "only those of this user, or robot+NAME")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withAccounts(cmd, c.openDatabase, func(accounts *account.Service) error {
			tokens, err := listTokens(cmd.Context(), accounts, *owner)
			if err != nil {
				return err
			}
			list := make([]tokenInfo, len(tokens))
			for i, t := range tokens {
				list[i] = newTokenInfo(t)
			}
			return c.show(cmd, list, tokenTable(list, time.Now()))
		})
	}
	return cmd
}

// listTokens returns the tokens of an account by its user name, or all tokens if owner is "".
func listTokens(ctx context.Context, accounts *account.Service, owner string) ([]account.Token, error) {
	if owner == "" {
		return accounts.Tokens(ctx)
	}
	a, err := accounts.AccountOf(ctx, owner)
	if err != nil {
		return nil, err
	}
	return accounts.TokensOf(ctx, a)
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
	databaseFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return errors.New("expected the number of a token, as berth token list shows it")
		}
		return c.withAccounts(cmd, c.openDatabase, func(accounts *account.Service) error {
			if err := accounts.Revoke(cmd.Context(), id); err != nil {
				return err
			}
			return c.say(cmd, map[string]int64{"revoked": id}, "revoked token %d", id)
		})
	}
	return cmd
}

// tokenInfo is a token in the output of commands.
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

func newTokenInfo(t account.Token) tokenInfo {
	info := tokenInfo{
		ID: t.ID, Kind: t.Kind, Owner: t.Owner, Name: t.Name, Scope: t.Scope, CIDRs: append([]string{}, t.Networks...),
		Created: t.Created, Expires: t.Expires,
	}
	if !t.LastUsed.IsZero() {
		info.LastUsed = &t.LastUsed
	}
	return info
}
