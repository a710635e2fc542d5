package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/policy"
	"github.com/berth-registry/berth/auth/token"
)

func (c *console) configCommand() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	check := &cobra.Command{
		Use:   "check",
		Short: "Print the effective configuration and where each value comes from",
		Long: "Reads the configuration as `berth serve` would with the same file, variables and flags, and prints each setting\n" +
			"with its value and where that comes from. Secrets are masked. Exit code 1, with what is wrong, if serve would refuse it\n" +
			"or one of the files that it names: the policy, htpasswd files, certificates and keys. The data directory is not looked at.",
		Args: cobra.NoArgs,
	}
	configFlags(check.Flags())
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := loadFor(cmd.Flags(), c.environ)
		if err != nil {
			return err
		}
		for _, name := range l.unknown {
			fmt.Fprintf(c.stderr, "berth: warning: the variable %s is no setting and is ignored\n", name)
		}
		warnings, err := l.checkFiles(cmd.Context())
		for _, warning := range warnings {
			fmt.Fprintln(c.stderr, "berth: warning:", warning)
		}
		return errors.Join(c.printConfig(l), err)
	}
	parent.AddCommand(check)
	return parent
}

// checkFiles reads the files that the configuration names, as serve does. The warnings are of what
// is right by itself and dangerous in practice.
func (l *loaded) checkFiles(ctx context.Context) (warnings []string, err error) {
	rules, err := policy.Open(l.Auth.Policy)
	wrong := []error{err}
	if err == nil {
		warnings = l.proxyWarnings(rules.Current())
	}
	_, err = login.New(ctx, login.Options{Htpasswd: l.Auth.Htpasswd})
	wrong = append(wrong, err)
	if l.Auth.KeyFile != "" {
		_, err = token.Open(ctx, token.Options{KeyFile: l.Auth.KeyFile, Issuer: "berth", Service: l.serviceName(), TTL: l.Auth.TokenTTL})
		wrong = append(wrong, err)
	}
	if l.TLS.Certificate != "" {
		_, err = loadCertificate(l.TLS)
		wrong = append(wrong, err)
	}
	return warnings, errors.Join(wrong...)
}

func (c *console) printConfig(l *loaded) error {
	t := table{head: []string{"KEY", "VALUE", "FROM"}}
	for _, s := range settings() {
		t.add(s.key, s.shown(s.text(&l.Config)), l.origin[s.key])
	}
	return c.printTable(t)
}

// orDash makes an empty value visible.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
