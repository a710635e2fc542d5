package main

import (
	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/cmd/berth/server"
)

func (c *console) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the registry until SIGTERM or an interrupt",
		Long: "Serves the registry. Without a setting it listens on 127.0.0.1:5000 and keeps everything in ./berth-data. Each flag is a\n" +
			"setting, which the configuration file and the environment know too: see `berth config check`.",
	}
	config.AddFlags(cmd.Flags())
	report := func(log config.LogConfig) {
		c.errorLine = func(err error) string { return server.ErrorLine(log, c.stderr, err) }
	}
	early := config.LogConfig{Format: config.Lookup(c.environ,
		"BERTH_LOG_FORMAT")} // without the file, which is not read
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { report(early); return err })
	cmd.Args = func(cmd *cobra.Command, args []string) error { report(early); return cobra.NoArgs(cmd, args) }
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := config.Load(cmd.Flags(), c.environ)
		report(l.Log)
		if err != nil {
			return err
		}
		return server.Serve(cmd.Context(), server.Process{
			Environ: c.environ, Stderr: c.stderr, Version: version(),
			Signals: c.signals, Hangups: c.hangups, Exit: c.exit,
		}, l)
	}
	return cmd
}
