package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/cmd/berth/server"
)

const healthTimeout = 5 * time.Second

func (c *console) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the running server whether it is ready",
		Long: "Asks /readyz of the configured address of a server on this machine. Exit code 0 when it is ready, 1 otherwise:\n" +
			"made for a container's health check, which has no other program to ask with.",
		Args: cobra.NoArgs,
	}
	config.AddFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		l, err := config.Load(cmd.Flags(), c.environ)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), healthTimeout)
		defer cancel()
		return server.AskReady(ctx, &l.Config)
	}
	return cmd
}
