package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

func (c *console) backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the database, beside a running server",
		Long: "Writes the registry's rows to FILE, as of one moment, while the server goes on. Copy the bucket after it, never\n" +
			"before: docs/operate.md says why, and how both are restored. FILE must not exist. A database on PostgreSQL is\n" +
			"copied with pg_dump instead.",
		Args: cobra.ExactArgs(1),
	}
	config.AddFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		l, err := config.Load(cmd.Flags(), c.environ)
		if err != nil {
			return err
		}
		if err := backup(cmd.Context(), l, args[0]); err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		fmt.Fprintf(c.stdout, "wrote the rows of %s to %s; now copy the bucket %s\n",
			config.MaskURL(l.Database.URL), args[0], config.MaskURL(l.Storage.Bucket))
		return nil
	}
	return cmd
}

// backup copies the rows to a new file.
func backup(ctx context.Context, l *config.Loaded, file string) error {
	if l.Database.Postgres() {
		return errors.New("the database is PostgreSQL: copy it with pg_dump --format=custom, " +
			"and after it, never before, the bucket; docs/operate.md says why, and how both are restored")
	}
	if err := checkRegistry(l); err != nil {
		return err
	}
	return sqlite.Backup(ctx, l.Database.URL, file)
}
