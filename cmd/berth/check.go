package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (c *console) configCommand() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	check := &cobra.Command{
		Use:   "check",
		Short: "Print the effective configuration and where each value comes from",
		Long: "Reads the configuration as `berth serve` would with the same file, variables and flags, and prints each setting\n" +
			"with its value and where that comes from. Secrets are masked. Exit code 1, with what is wrong, if serve would refuse it.",
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
		return c.printConfig(l)
	}
	parent.AddCommand(check)
	return parent
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
