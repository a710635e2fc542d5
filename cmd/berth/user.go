package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/rows"
)

const (
	groupFlag      = "group"
	keepTokensFlag = "keep-tokens"

	listPage = 500 // rows that a list reads at once
)

func (c *console) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, list and remove the users who may log in",
		Long: "The users of the database. They may be changed beside a running server, for which it counts from the next request on.\n" +
			"With the first one authentication is on, and stays so when the last one is removed.",
	}
	cmd.AddCommand(c.userAddCommand(), c.userPasswdCommand(), c.userGroupsCommand(), c.userListCommand(),
		c.userRemoveCommand(), c.userDisableCommand(true), c.userDisableCommand(false))
	return cmd
}

// accountCommand is a command on the account that its first argument names, of a kind.
func (c *console) accountCommand(cmd *cobra.Command, kind auth.Kind, run func(cmd *cobra.Command, db *rows.DB, a rows.Account, args []string) error) *cobra.Command {
	rowsFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.withRows(cmd, func(db *rows.DB, _ *loaded) error {
			a, err := findAccount(cmd.Context(), db, kind, args[0])
			if err != nil {
				return err
			}
			return run(cmd, db, a, args[1:])
		})
	}
	return cmd
}

// findAccount returns the account of a name.
func findAccount(ctx context.Context, db *rows.DB, kind auth.Kind, name string) (rows.Account, error) {
	a, err := db.Account(ctx, string(kind), name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return a, fmt.Errorf("the database has no %s %q", kind, name)
	case err != nil:
		return a, fmt.Errorf("reading the %s %q: %w", kind, name, err)
	}
	return a, nil
}

func (c *console) userAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user with a password",
		Args:  cobra.ExactArgs(1),
	}
	rowsFlags(cmd.Flags())
	groups := cmd.Flags().StringArray(groupFlag, nil, "group that the user is in; may be repeated")
	cmd.Flags().Bool(passwordStdinFlag, false, "read the password from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a := rows.Account{Kind: string(auth.User), Name: args[0], Groups: *groups}
		if err := checkAccount(a); err != nil {
			return err
		}
		return c.withRows(cmd, func(db *rows.DB, _ *loaded) error { return c.addUser(cmd, db, a) })
	}
	return cmd
}

// checkAccount says what is wrong with the names in a new account.
func checkAccount(a rows.Account) error {
	if err := auth.CheckAccountName(a.Name); err != nil {
		return err
	}
	return checkGroups(a.Groups)
}

// checkGroups says what is wrong with the names of groups: those of accounts, so that a policy file can say them.
func checkGroups(groups []string) error {
	for _, group := range groups {
		if err := auth.CheckAccountName(group); err != nil {
			return fmt.Errorf("group %q: %w", group, err)
		}
	}
	return nil
}

func (c *console) addUser(cmd *cobra.Command, db *rows.DB, a rows.Account) error {
	switch _, err := db.Account(cmd.Context(), a.Kind, a.Name); { // before anyone is asked for a password
	case err == nil:
		return errTaken(a)
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("reading the user %q: %w", a.Name, err)
	}
	hash, err := c.newHash(cmd)
	if err != nil {
		return err
	}
	a.PasswordHash, a.PasswordCost, a.CreatedAt = hash, login.DefaultCost, time.Now().UnixMicro()
	err = db.Tx(cmd.Context(), func(tx *rows.Tx) (err error) {
		a.ID, err = tx.CreateAccount(a)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return errTaken(a)
	case err != nil:
		return fmt.Errorf("adding the user: %w", err)
	}
	return c.say(cmd, newAccountInfo(a), "added user %s", a.Name)
}

func errTaken(a rows.Account) error { return fmt.Errorf("there is a %s %q already", a.Kind, a.Name) }

// newHash reads a password and returns what is kept of it.
func (c *console) newHash(cmd *cobra.Command) (string, error) {
	password, err := c.newPassword(cmd)
	if err != nil {
		return "", err
	}
	return login.HashPassword(password, login.DefaultCost)
}

func (c *console) userPasswdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Change a user's password",
		Long:  "Changes a user's password. Whoever logged in with the old one is out, and the user's tokens are revoked unless --" + keepTokensFlag + " is given.",
		Args:  cobra.ExactArgs(1),
	}
	cmd.Flags().Bool(passwordStdinFlag, false, "read the password from standard input")
	keep := cmd.Flags().Bool(keepTokensFlag, false, "let the user's tokens be")
	return c.accountCommand(cmd, auth.User, func(cmd *cobra.Command, db *rows.DB, a rows.Account, _ []string) error {
		hash, err := c.newHash(cmd)
		if err != nil {
			return err
		}
		err = changeAccount(cmd.Context(), db, func(tx *rows.Tx) error {
			if err := tx.SetPassword(a.ID, hash, login.DefaultCost); err != nil || *keep {
				return err
			}
			return tx.DeleteAuthTokensOf(a.ID)
		})
		if err != nil {
			return err
		}
		return c.say(cmd, newAccountInfo(a), "changed the password of %s", a.Name)
	})
}

// changeAccount changes an account that was there a moment ago.
func changeAccount(ctx context.Context, db *rows.DB, change func(tx *rows.Tx) error) error {
	if err := db.Tx(ctx, change); err != nil {
		return fmt.Errorf("changing the account: %w", err)
	}
	return nil
}

func (c *console) userGroupsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups NAME [GROUP...]",
		Short: "Say in which groups a user is from now on",
		Long:  "Puts a user into exactly the groups that are named, or into none. A policy file may know of further ones.",
		Args:  cobra.MinimumNArgs(1),
	}
	return c.accountCommand(cmd, auth.User, func(cmd *cobra.Command, db *rows.DB, a rows.Account, groups []string) error {
		if err := checkGroups(groups); err != nil {
			return err
		}
		a.Groups = groups
		err := changeAccount(cmd.Context(), db, func(tx *rows.Tx) error { return tx.SetGroups(a.ID, groups) })
		if err != nil {
			return err
		}
		return c.say(cmd, newAccountInfo(a), "%s is in the groups: %s", a.Name, orDash(strings.Join(groups, ", ")))
	})
}

func (c *console) userListCommand() *cobra.Command { return c.accountListCommand(auth.User) }

// accountListCommand lists the accounts of a kind.
func (c *console) accountListCommand(kind auth.Kind) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the " + string(kind) + "s of the database",
		Args:  cobra.NoArgs,
	}
	rowsFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withRows(cmd, func(db *rows.DB, _ *loaded) error {
			list := []accountInfo{}
			err := eachAccount(cmd.Context(), db, kind, func(a rows.Account) { list = append(list, newAccountInfo(a)) })
			if err != nil {
				return err
			}
			t := table{head: []string{"NAME", "GROUPS", "STATE", "CREATED"}}
			for _, a := range list {
				t.add(a.Name, strings.Join(a.Groups, ","), a.state(), a.Created.Format(time.DateOnly))
			}
			return c.show(cmd, list, t)
		})
	}
	return cmd
}

// eachAccount reads all accounts of a kind in the order of their names.
func eachAccount(ctx context.Context, db *rows.DB, kind auth.Kind, f func(a rows.Account)) error {
	for last := ""; ; {
		page, err := db.Accounts(ctx, string(kind), last, listPage)
		if err != nil {
			return fmt.Errorf("reading the %ss: %w", kind, err)
		}
		for _, a := range page {
			f(a)
			last = a.Name
		}
		if len(page) < listPage {
			return nil
		}
	}
}

func (c *console) userRemoveCommand() *cobra.Command { return c.accountRemoveCommand(auth.User) }

// accountRemoveCommand removes an account of a kind.
func (c *console) accountRemoveCommand(kind auth.Kind) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a " + string(kind) + " with all its tokens",
		Long:  "Removes a " + string(kind) + " and its tokens. Whoever gets the name later is somebody else.",
		Args:  cobra.ExactArgs(1),
	}
	return c.accountCommand(cmd, kind, func(cmd *cobra.Command, db *rows.DB, a rows.Account, _ []string) error {
		err := changeAccount(cmd.Context(), db, func(tx *rows.Tx) error { return tx.DeleteAccount(a.ID) })
		if err != nil {
			return err
		}
		return c.say(cmd, newAccountInfo(a), "removed %s %s", a.Kind, a.Name)
	})
}

// userDisableCommand disables a user or, with false, enables one.
func (c *console) userDisableCommand(disable bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disable NAME",
		Short: "Shut a user out, tokens included, until enabled again",
		Args:  cobra.ExactArgs(1),
	}
	if !disable {
		cmd.Use, cmd.Short = "enable NAME", "Let a disabled user in again"
	}
	return c.accountCommand(cmd, auth.User, func(cmd *cobra.Command, db *rows.DB, a rows.Account, _ []string) error {
		a.Disabled = disable
		err := changeAccount(cmd.Context(), db, func(tx *rows.Tx) error { return tx.SetDisabled(a.ID, disable) })
		if err != nil {
			return err
		}
		info := newAccountInfo(a)
		return c.say(cmd, info, "user %s is %s", a.Name, info.state())
	})
}

// accountInfo is an account as commands print it.
type accountInfo struct {
	Kind     string    `json:"kind"`
	Name     string    `json:"name"`
	Groups   []string  `json:"groups"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

func newAccountInfo(a rows.Account) accountInfo {
	return accountInfo{Kind: a.Kind, Name: a.Name, Groups: append([]string{}, a.Groups...), Disabled: a.Disabled, Created: time.UnixMicro(a.CreatedAt).UTC()}
}

func (a accountInfo) state() string {
	if a.Disabled {
		return "disabled"
	}
	return "enabled"
}
