package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/berth-registry/berth/auth/account"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/cmd/berth/server"
	"github.com/berth-registry/berth/internal/db"
	"github.com/berth-registry/berth/internal/durable"
)

const jsonFlag = "json"

// databaseFlags adds the flags of every command on the database: --config, --json, the settings
// that locate the database, and the settings with the given keys. Other settings can still come
// from the file or the environment.
func databaseFlags(flags *pflag.FlagSet, keys ...string) {
	config.AddFlags(flags, append([]string{
		"data", "storage.bucket", "database.url", "database.password_file", "database.pooler", "database.max_connections",
	}, keys...)...)
	flags.Bool(jsonFlag, false, "print JSON")
}

// opener opens the database of a configuration: openDatabase or makeDatabase.
type opener func(ctx context.Context, l *config.Loaded) (*db.DB, error)

// withAccounts loads the configuration for a command that has databaseFlags, opens the database,
// calls f with its accounts, and closes the database. A server may be running on it.
func (c *console) withAccounts(cmd *cobra.Command, open opener, f func(accounts *account.Service) error) error {
	l, err := config.Load(cmd.Flags(), c.environ)
	if err != nil {
		return err
	}
	d, err := open(cmd.Context(), l)
	if err != nil {
		return err
	}
	return errors.Join(f(account.New(rows.New(d), time.Now)), d.Close())
}

// openDatabase opens the database for a command that needs what is in it. If there is none it makes
// nothing and returns an error, since the data is probably elsewhere.
func (c *console) openDatabase(ctx context.Context, l *config.Loaded) (*db.DB, error) {
	if err := checkRegistry(l); err != nil {
		return nil, err
	}
	return server.OpenDatabase(ctx, l, false)
}

// makeDatabase opens the database for a command that adds to it. Before the first start of a server
// it makes the data directory and the database, as serve would, and tells where. On PostgreSQL only
// serve makes the tables.
func (c *console) makeDatabase(ctx context.Context, l *config.Loaded) (*db.DB, error) {
	missing := checkRegistry(l)
	switch {
	case missing == nil:
		return server.OpenDatabase(ctx, l, false)
	case !errors.Is(missing, fs.ErrNotExist):
		return nil, missing
	}
	if err := server.MakeDataDirs(l); err != nil {
		return nil, err
	}
	d, err := server.OpenDatabase(ctx, l, false)
	if err == nil {
		fmt.Fprintf(c.stderr, "berth: made the database %s of a new registry\n", l.DatabaseFile)
	}
	return d, err
}

// checkRegistry returns an error if the database has no file that commands could open. The error is
// fs.ErrNotExist if it may be made. A database in memory can be reached by its own server only. One
// on PostgreSQL is asked when it is opened.
func checkRegistry(l *config.Loaded) error {
	if l.Database.Postgres() {
		return nil
	}
	if l.InMemory() {
		return errors.New("a database in memory lives in its server and cannot be reached from outside")
	}
	_, err := os.Stat(l.DatabaseFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &noRegistryError{l.DatabaseFile}
	case err != nil:
		if why := durable.Denied(l.DatabaseFile); why != "" {
			return fmt.Errorf("%s (%w)", why, err)
		}
	}
	return err
}

// noRegistryError is the error for a database that does not exist yet. It is fs.ErrNotExist.
type noRegistryError struct{ file string }

func (e *noRegistryError) Error() string {
	return fmt.Sprintf(
		"there is no registry in %s: %s is missing; --data, the configuration file or BERTH_DATA says where it is, "+
			"and berth serve or berth user add makes a new one", filepath.Dir(e.file), filepath.Base(e.file))
}

func (e *noRegistryError) Is(target error) bool { return target == fs.ErrNotExist }

// table is the output of a command for people. Each row has as many cells as the head.
type table struct {
	head []string
	rows [][]string
}

// add adds a row.
func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// show prints the result of a query: v as JSON with --json, otherwise the table. A slice in v must
// not be nil, because JSON would have null for it.
func (c *console) show(cmd *cobra.Command, v any, t table) error {
	if asJSON, err := cmd.Flags().GetBool(jsonFlag); err != nil || asJSON {
		return errors.Join(err, c.printJSON(v))
	}
	return c.printTable(t)
}

// say prints the result of a change: v as JSON with --json, otherwise a sentence.
func (c *console) say(cmd *cobra.Command, v any, format string, args ...any) error {
	asJSON, err := cmd.Flags().GetBool(jsonFlag)
	if err != nil {
		return err
	}
	if asJSON {
		return c.printJSON(v)
	}
	_, err = fmt.Fprintf(c.stdout, format+"\n", args...)
	return err
}

func (c *console) printJSON(v any) error {
	out := json.NewEncoder(c.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

func (c *console) printTable(t table) error {
	w := tabwriter.NewWriter(c.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(t.head, "\t"))
	for _, row := range t.rows {
		for i := range row {
			row[i] = orDash(row[i])
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}
