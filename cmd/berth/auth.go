package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/policy"
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
