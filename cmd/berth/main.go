// Command berth is an OCI registry in one program: `berth serve` takes pushes and answers pulls. It
// needs a directory and nothing else. This package has the commands: their flags, what they print
// and their exit codes. The settings are in package config, the parts of a running registry in
// package server.
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

// console is what the commands use of the process.
type console struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
	signals        func() <-chan os.Signal // delivers interrupt and SIGTERM, which then no longer end the process
	hangups        func() <-chan os.Signal // likewise for SIGHUP
	exit           func(code int)          // ends the process at once

	errorLine func(err error) string // the line that reports the error of the command; nil: text
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

// run executes one command and returns the exit code of the process: 0, or 1 after printing the
// error.
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
		c.reportError(err)
		return 1
	}
	return 0
}

// reportError prints why a command failed. It waits at most server.ExitTimeout, in case nothing
// reads standard error.
func (c *console) reportError(err error) {
	line := fmt.Sprintln("berth:", err)
	if c.errorLine != nil {
		line = c.errorLine(err)
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		_, _ = io.WriteString(c.stderr, line) // there is no other place to report a failure
	}()
	select {
	case <-told:
	case <-time.After(server.ExitTimeout):
	}
}

// refuseUnknown makes an unknown subcommand of group an error. Cobra would print the group's help
// and report success, which a script would take for success.
func refuseUnknown(group *cobra.Command) {
	group.Args = cobra.NoArgs
	group.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	group.DisableFlagsInUseLine = true
}
