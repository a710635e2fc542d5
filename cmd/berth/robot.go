package main

import (
	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/account"
)

func (c *console) robotCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "robot",
		Short: "Create, list and remove robots: accounts of programs",
		Long: "A robot is an account without a password, which logs in as robot+NAME with a token.\n" +
			"A further token, before the first expires, is made by: berth token create --owner robot+NAME",
	}
	cmd.AddCommand(c.robotCreateCommand(), c.accountListCommand(auth.Robot), c.accountRemoveCommand(auth.Robot))
	return cmd
}

func (c *console) robotCreateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a robot with a token, and print that, this once",
		Example: "  berth robot create deployer --scope 'repository:prod/**:pull' --expires 90d --cidr 10.20.0.0/16",
		Args:    cobra.ExactArgs(1),
	}
	databaseFlags(cmd.Flags())
	tokenFlags(cmd.Flags())
	groups := cmd.Flags().StringArray(groupFlag, nil, "group that the robot is in; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		wanted, err := newToken(cmd.Flags())
		if err != nil {
			return err
		}
		if err := account.CheckNames(args[0], *groups); err != nil {
			return err
		}
		return c.withAccounts(cmd, c.makeDatabase, func(accounts *account.Service) error {
			t, secret, err := accounts.CreateRobot(cmd.Context(), args[0], *groups, wanted)
			if err != nil {
				return err
			}
			return c.showSecret(cmd, t, secret)
		})
	}
	return cmd
}
