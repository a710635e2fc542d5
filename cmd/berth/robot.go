package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
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
	rowsFlags(cmd.Flags())
	tokenFlags(cmd.Flags())
	groups := cmd.Flags().StringArray(groupFlag, nil, "group that the robot is in; may be repeated")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		now := time.Now()
		t, err := newToken(cmd.Flags(), now)
		if err != nil {
			return err
		}
		robot := rows.Account{Kind: string(auth.Robot), Name: args[0], Groups: *groups, CreatedAt: now.UnixMicro()}
		if err := checkAccount(robot); err != nil {
			return err
		}
		return c.withRows(cmd, func(db *rows.DB, _ *loaded) error { return c.createToken(cmd, db, robot, t) })
	}
	return cmd
}
