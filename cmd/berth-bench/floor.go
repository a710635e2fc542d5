package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/cmd/berth-bench/floor"
)

// floorCommand returns the command that serves the floor, which runs in its own process.
func floorCommand() *cobra.Command {
	var addr, dir string
	cmd := &cobra.Command{
		Use:   "floor",
		Short: "Serve the least that a durable registry can do, to measure against",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveFloor(cmd.Context(), addr, dir)
		},
	}
	cmd.Flags().StringVar(&addr, "addr", "127.0.0.1:5109", "listen here")
	cmd.Flags().StringVar(&dir, "dir", "floor-data", "keep everything in this directory")
	return cmd
}

// serveFloor serves until ctx ends. The server has no timeouts, because each would add to the cost
// of every request, and only the benchmark connects to it.
func serveFloor(ctx context.Context, addr, dir string) (err error) {
	f, err := floor.Open(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	server := &http.Server{Addr: addr, Handler: f}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
