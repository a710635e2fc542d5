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

const (
	claimFlag = "claim"
	ipFlag    = "ip"
)

func (c *console) authCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "auth", Short: "Ask the policy who may do what"}
	cmd.AddCommand(c.authCanCommand(), c.authExplainCommand())
	return cmd
}

const aboutIdentity = "IDENTITY is user:NAME, robot:NAME, oidc:ISSUER (a CI job, whose claims are given by flags) or anonymous. Groups are\n" +
	"those of the database and of the policy file, and those given by flags. ACTION is pull, push, delete or catalog, which\n" +
	"is of no repository."

func (c *console) authCanCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "can IDENTITY ACTION [REPOSITORY]",
		Short: "Say whether somebody may do something, and the rule that decides",
		Long:  "Says yes or no, and the rule that decides. Exit code 0 for yes, 1 for no.\n" + aboutIdentity,
		Example: "  berth auth can user:bob push team-a/app\n" +
			"  berth auth can oidc:github push acme/app --claim repository=acme/app --claim ref=refs/heads/main",
		Args: cobra.RangeArgs(2, 3),
	}
	questionFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := c.readQuestion(cmd, args)
		if err != nil {
			return err
		}
		answer := q.answer()
		if err := c.say(cmd, answer, "%s", answer); err != nil {
			return err
		}
		if !answer.Allowed {
			c.exit(1) // "no" is an answer, so no error is printed
		}
		return nil
	}
	return cmd
}

func (c *console) authExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain IDENTITY [ACTION [REPOSITORY]]",
		Short: "Say of each rule whether it applies to somebody, and why",
		Long: "Lists the rules of the policy: those that apply, and of the others what keeps them from it. With an identity alone, those\n" +
			"that are for it, whatever it does.\n" + aboutIdentity,
		Args: cobra.RangeArgs(1, 3),
	}
	questionFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := c.readQuestion(cmd, args)
		if err != nil {
			return err
		}
		return c.explain(cmd, q)
	}
	return cmd
}

// questionFlags adds the flags of a question to the policy.
func questionFlags(flags *pflag.FlagSet) {
	databaseFlags(flags, "auth.mode", "auth.policy")
	flags.StringArray(groupFlag, nil, "further group that the identity is in; may be repeated")
	flags.StringArray(claimFlag, nil, "claim of a CI job, NAME=VALUE; may be repeated, also for one claim with several values")
	flags.String(ipFlag, "", "address that the request comes from; unset, it is unknown")
}

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
	on := a.Mode == config.ModeBerth || a.Policy != "" || len(a.Htpasswd) > 0 || !isLoopback(l.HTTP.Addr)
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

// answer is the policy's decision with its reason.
type answer struct {
	Identity   string          `json:"identity"`
	Action     auth.Permission `json:"action"`
	Repository string          `json:"repository,omitempty"`
	Allowed    bool            `json:"allowed"`
	Rule       string          `json:"rule"` // as in the audit log

	decided bool // a rule of the policy decided
}

// String returns the answer as a sentence.
func (a answer) String() string {
	switch {
	case a.Allowed && a.decided:
		return "yes: allowed by " + a.Rule
	case a.Allowed:
		return "yes: " + a.Rule
	case a.decided:
		return "no: denied by " + a.Rule
	default:
		return "no: " + a.Rule
	}
}

// answer returns the policy's decision.
func (q *question) answer() answer {
	a := answer{Identity: q.who, Action: q.action, Repository: q.repository}
	switch {
	case q.open != "":
		a.Allowed, a.Rule = true, q.open
	case q.disabled:
		a.Rule = "the account is disabled"
	default:
		e := q.policy.Explain(q.id, q.from, q.action, q.repository)
		a.Allowed, a.Rule = e.Decision.Allowed, e.Decision.Rule
		a.decided = slices.ContainsFunc(e.Rules, func(v policy.Verdict) bool { return v.Applied && v.Rule == a.Rule })
	}
	return a
}

// explanation is the JSON output of `auth explain`.
type explanation struct {
	Identity string           `json:"identity"`
	Groups   []string         `json:"groups"`
	Decision *answer          `json:"decision,omitempty"`
	Rules    []policy.Verdict `json:"rules"`
}

// explain prints each rule with the reason why it applies or not, and the decision if the question
// has an action.
func (c *console) explain(cmd *cobra.Command, q *question) error {
	out := explanation{Identity: q.who, Groups: q.policy.Groups(q.id), Rules: q.policy.Explain(q.id, q.from, q.action, q.repository).Rules}
	if q.action != "" {
		decision := q.answer()
		out.Decision = &decision
	}
	t := table{head: []string{"RULE", "LINE", "SAYS", "APPLIES", "WHY"}}
	for _, v := range out.Rules {
		applies := "no"
		if v.Applied {
			applies = "yes"
		}
		t.add(v.Rule, lineText(v.Line), v.Effect+" "+strings.Join(v.Actions, ","), applies, v.Why)
	}
	if asJSON, err := cmd.Flags().GetBool(jsonFlag); err != nil || asJSON {
		return errors.Join(err, c.printJSON(out))
	}
	if len(out.Groups) > 0 {
		fmt.Fprintf(c.stdout, "%s is in %s\n", q.who, strings.Join(out.Groups, ", "))
	}
	if q.open != "" || q.disabled || out.Decision != nil {
		fmt.Fprintln(c.stdout, q.answer())
	}
	return c.printTable(t)
}

// lineText returns a line number as text, "" for a rule that is in no file.
func lineText(line int) string {
	if line == 0 {
		return ""
	}
	return strconv.Itoa(line)
}
