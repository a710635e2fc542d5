package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
	"github.com/berth-registry/berth/internal/db/schema"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

const jsonFlag = "json"

// databaseFlags adds the flags of every command on the database: --config, --json, the settings
// that locate the database, and the settings with the given keys. Other settings can still come
// from the file or the environment.
func databaseFlags(flags *pflag.FlagSet, keys ...string) {
	config.AddFlags(flags, append([]string{"data", "storage.bucket", "database.url"}, keys...)...)
	flags.Bool(jsonFlag, false, "print JSON")
}

// withAccounts loads the configuration for a command that has databaseFlags, opens the database,
// calls f with its accounts, and closes the database. A server may be running on it.
func (c *console) withAccounts(cmd *cobra.Command, f func(accounts *account.Service) error) error {
	l, err := config.Load(cmd.Flags(), c.environ)
	if err != nil {
		return err
	}
	d, err := c.openDatabase(cmd.Context(), l)
	if err != nil {
		return err
	}
	return errors.Join(f(account.New(rows.New(d), time.Now)), d.Close())
}

// openDatabase opens the database for a command. A server may be running on it. Before the first
// start of a server it makes the data directory, as serve would. It refuses a database in memory,
// which only its own server can reach.
func (c *console) openDatabase(ctx context.Context, l *config.Loaded) (*db.DB, error) {
	if l.InMemory() {
		return nil, errors.New("a database in memory lives in its server and cannot be reached from outside")
	}
	if err := server.MakeDataDirs(l); err != nil {
		return nil, err
	}
	d, err := sqlite.Open(ctx, l.Database.URL, schema.Current(), sqlite.Options{})
	if err != nil {
		return nil, fmt.Errorf("opening the database %s: %w", config.MaskURL(l.Database.URL), err)
	}
	return d, nil
}

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
