package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/cmd/berth-bench/floor"
)

// floorCommand runs the floor, so that it has a process of its own.
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

// serveFloor serves until ctx ends. The server has no timeouts: each would
// cost every request something, and nobody else is to reach it.
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
