package main

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/account"
)

const (
	groupFlag      = "group"
	keepTokensFlag = "keep-tokens"
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

// accountFunc runs a command on an account. args are the arguments after the account's name.
type accountFunc func(cmd *cobra.Command, accounts *account.Service, a account.Account, args []string) error

// accountCommand makes cmd a command on an account. The first argument is the account's name.
func (c *console) accountCommand(cmd *cobra.Command, kind auth.Kind, run accountFunc) *cobra.Command {
	databaseFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return c.withAccounts(cmd, c.openDatabase, func(accounts *account.Service) error {
			a, err := accounts.Account(cmd.Context(), kind, args[0])
			if err != nil {
				return err
			}
			return run(cmd, accounts, a, args[1:])
		})
	}
	return cmd
}

func (c *console) userAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user with a password",
		Args:  cobra.ExactArgs(1),
	}
	databaseFlags(cmd.Flags())
	groups := cmd.Flags().StringArray(groupFlag, nil, "group that the user is in; may be repeated")
	cmd.Flags().Bool(passwordStdinFlag, false, "read the password from standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := account.CheckNames(args[0], *groups); err != nil {
			return err
		}
		return c.withAccounts(cmd, c.makeDatabase, func(accounts *account.Service) error { return c.addUser(cmd, accounts, args[0], *groups) })
	}
	return cmd
}

func (c *console) addUser(cmd *cobra.Command, accounts *account.Service, name string, groups []string) error {
	// Checked here too, so that nobody types a password for a name that is taken.
	if err := accounts.CheckUnused(cmd.Context(), auth.User, name); err != nil {
		return err
	}
	password, err := c.newPassword(cmd)
	if err != nil {
		return err
	}
	a, err := accounts.AddUser(cmd.Context(), name, groups, password)
	if err != nil {
		return err
	}
	return c.say(cmd, newAccountInfo(a), "added user %s", a.Name)
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
	return c.accountCommand(cmd, auth.User, func(cmd *cobra.Command, accounts *account.Service, a account.Account, _ []string) error {
		password, err := c.newPassword(cmd)
		if err != nil {
			return err
		}
		if err := accounts.SetPassword(cmd.Context(), a, password, *keep); err != nil {
			return err
		}
		return c.say(cmd, newAccountInfo(a), "changed the password of %s", a.Name)
	})
}

func (c *console) userGroupsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "groups NAME [GROUP...]",
		Short: "Say in which groups a user is from now on",
		Long:  "Puts a user into exactly the groups that are named, or into none. A policy file may know of further ones.",
		Args:  cobra.MinimumNArgs(1),
	}
	return c.accountCommand(cmd, auth.User, func(cmd *cobra.Command, accounts *account.Service, a account.Account, groups []string) error {
		a, err := accounts.SetGroups(cmd.Context(), a, groups)
		if err != nil {
			return err
		}
		return c.say(cmd, newAccountInfo(a), "%s is in the groups: %s", a.Name, orDash(strings.Join(groups, ", ")))
	})
}

func (c *console) userListCommand() *cobra.Command { return c.accountListCommand(auth.User) }

// accountListCommand returns the command that lists the accounts of a kind.
func (c *console) accountListCommand(kind auth.Kind) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the " + string(kind) + "s of the database",
		Args:  cobra.NoArgs,
	}
	databaseFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.withAccounts(cmd, c.openDatabase, func(accounts *account.Service) error {
			list := []accountInfo{}
			t := table{head: []string{"NAME", "GROUPS", "STATE", "CREATED"}}
			for a, err := range accounts.Accounts(cmd.Context(), kind) {
				if err != nil {
					return err
				}
				info := newAccountInfo(a)
				list = append(list, info)
				t.add(info.Name, strings.Join(info.Groups, ","), info.state(), info.Created.Format(time.DateOnly))
			}
			return c.show(cmd, list, t)
		})
	}
	return cmd
}

func (c *console) userRemoveCommand() *cobra.Command { return c.accountRemoveCommand(auth.User) }

// accountRemoveCommand returns the command that removes an account of a kind.
func (c *console) accountRemoveCommand(kind auth.Kind) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a " + string(kind) + " with all its tokens",
		Long:  "Removes a " + string(kind) + " and its tokens. Whoever gets the name later is somebody else.",
		Args:  cobra.ExactArgs(1),
	}
	return c.accountCommand(cmd, kind, func(cmd *cobra.Command, accounts *account.Service, a account.Account, _ []string) error {
		if err := accounts.Remove(cmd.Context(), a); err != nil {
			return err
		}
		return c.say(cmd, newAccountInfo(a), "removed %s %s", a.Kind, a.Name)
	})
}

// userDisableCommand returns the command that disables a user or, if disable is false, enables one.
func (c *console) userDisableCommand(disable bool) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disable NAME",
		Short: "Shut a user out, tokens included, until enabled again",
		Args:  cobra.ExactArgs(1),
	}
	if !disable {
		cmd.Use, cmd.Short = "enable NAME", "Let a disabled user in again"
	}
	return c.accountCommand(cmd, auth.User, func(cmd *cobra.Command, accounts *account.Service, a account.Account, _ []string) error {
		a, err := accounts.SetDisabled(cmd.Context(), a, disable)
		if err != nil {
			return err
		}
		info := newAccountInfo(a)
		return c.say(cmd, info, "user %s is %s", a.Name, info.state())
	})
}

// accountInfo is an account in the output of commands.
type accountInfo struct {
	Kind     string    `json:"kind"`
	Name     string    `json:"name"`
	Groups   []string  `json:"groups"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
}

func newAccountInfo(a account.Account) accountInfo {
	return accountInfo{
		Kind: string(a.Kind), Name: a.Name, Groups: append([]string{}, a.Groups...),
		Disabled: a.Disabled, Created: a.Created,
	}
}

func (a accountInfo) state() string {
	if a.Disabled {
		return "disabled"
	}
	return "enabled"
}
