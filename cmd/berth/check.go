package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/cmd/berth/server"
)

func (c *console) configCommand() *cobra.Command {
	parent := &cobra.Command{Use: "config", Short: "Look at the configuration"}
	check := &cobra.Command{
		Use:   "check",
		Short: "Print the effective configuration and where each value comes from",
		Long: "Reads the configuration as `berth serve` would with the same file, variables and flags, and prints each setting\n" +
			"with its value and where that comes from. Secrets are masked. Exit code 1, with what is wrong, if serve would refuse it\n" +
			"or one of the files that it names: the policy, htpasswd files, certificates, keys and the audit file. What serve writes to\n" +
			"its log about faulty lines and dangerous settings is printed too. The data and the network are not looked at.",
		Args: cobra.NoArgs,
	}
	config.AddFlags(check.Flags())
	check.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := config.Load(cmd.Flags(), c.environ)
		if err != nil {
			return err
		}
		for _, name := range l.Unknown {
			fmt.Fprintf(c.stderr, "berth: warning: the variable %s is no setting and is ignored\n", name)
		}
		notes, err := server.Check(cmd.Context(), l)
		for _, note := range notes {
			fmt.Fprintf(c.stderr, "berth: %s: %s\n", levelName(note.Level), note.Text)
		}
		return errors.Join(c.printConfig(l), err)
	}
	parent.AddCommand(check)
	return parent
}

// levelName returns the name of a level for people: warning or error.
func levelName(level slog.Level) string {
	if level == slog.LevelWarn {
		return "warning"
	}
	return "error"
}

func (c *console) printConfig(l *config.Loaded) error {
	t := table{head: []string{"KEY", "VALUE", "FROM"}}
	for _, s := range config.Settings() {
		t.add(s.Key, s.Shown(&l.Config), l.Origin(s.Key))
	}
	return c.printTable(t)
}

// orDash returns s, or "-" if s is empty.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
