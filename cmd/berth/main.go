// Command berth is an OCI registry in one program: `berth serve` takes pushes and answers pulls, on
// a directory and nothing else. This package has the commands: their flags, what they print and
// their exit codes. Settings are in package config, the parts of a running registry in package
// server, and what the registry does in the packages below them.
package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/berth-registry/berth/cmd/berth/server"
)

// console is the process as its commands see it.
type console struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	signals        func() <-chan os.Signal // from now on, interrupt and SIGTERM end nothing but come here
	hangups        func() <-chan os.Signal // likewise SIGHUP
	exit           func(code int)          // ends the process at once
}

func main() {
	c := &console{environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, signals: catchSignals, hangups: catchHangups, exit: os.Exit}
	os.Exit(run(c, os.Args[1:]))
}

func catchSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return signals
}

func catchHangups() <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	return signals
}

// run runs one command and returns the process's exit code: 0, or 1 after the error was printed.
func run(c *console, args []string) int {
	root := &cobra.Command{
		Use:           "berth",
		Short:         "An OCI registry: docker push to it, docker pull from it",
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetArgs(args)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	root.AddCommand(
		c.serveCommand(), c.userCommand(), c.robotCommand(), c.tokenCommand(), c.keyCommand(), c.authCommand(),
		c.configCommand(), c.backupCommand(), c.healthCommand(), c.versionCommand(),
	)
	for _, cmd := range root.Commands() {
		if cmd.HasSubCommands() {
			refuseUnknown(cmd)
		}
	}
	if err := root.Execute(); err != nil {
		c.complain(err)
		return 1
	}
	return 0
}

// complain tells why a command failed. A reader of standard error that stands still does not keep
// the process for longer than server.LastWords.
func (c *console) complain(err error) {
	told := make(chan struct{})
	go func() {
		defer close(told)
		fmt.Fprintln(c.stderr, "berth:", err)
	}()
	select {
	case <-told:
	case <-time.After(server.LastWords):
	}
}

// refuseUnknown makes an error of a command that a group of commands does not have. Cobra would
// show the group's help and report success, which a script takes for a user that was removed.
func refuseUnknown(group *cobra.Command) {
	group.Args = cobra.NoArgs
	group.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	group.DisableFlagsInUseLine = true
}
