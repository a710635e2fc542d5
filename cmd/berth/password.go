package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const (
	passwordStdinFlag = "password-stdin"

	// maxPasswordInput is the most bytes that are read. It is more than any password may have; the
	// hash has the exact limit.
	maxPasswordInput = 4 << 10
)

// newPassword reads a new password: one line of standard input with --password-stdin, otherwise
// from the terminal, where it is typed twice.
func (c *console) newPassword(cmd *cobra.Command) (string, error) {
	fromStdin, err := cmd.Flags().GetBool(passwordStdinFlag)
	if err != nil {
		return "", err
	}
	if fromStdin {
		return readPassword(c.stdin)
	}
	file, ok := c.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return "", errors.New("there is no terminal to ask for a password at: give it on standard input, with --" + passwordStdinFlag)
	}
	return c.askPassword(int(file.Fd()))
}

// readPassword returns the only line of r.
func readPassword(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPasswordInput+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("reading the password: %w", err)
	case len(data) > maxPasswordInput:
		return "", errors.New("standard input is much longer than a password")
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if strings.ContainsAny(password, "\r\n") {
		return "", errors.New("standard input has more than one line: expected the password alone")
	}
	return password, nil
}

// askPassword asks twice, without echo.
func (c *console) askPassword(terminal int) (string, error) {
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	// An interrupt must not leave the terminal without echo.
	answered := make(chan struct{})
	defer close(answered)
	signals := c.signals()
	go func() {
		select {
		case <-signals:
			term.Restore(terminal, before) // an error cannot be handled here
			c.exit(1)
		case <-answered:
		}
	}()
	first, err := c.askOnce(terminal, "Password: ")
	if err != nil {
		return "", err
	}
	second, err := c.askOnce(terminal, "The same again: ")
	if err == nil && first != second {
		err = errors.New("these were two different passwords")
	}
	return first, err
}

func (c *console) askOnce(terminal int, prompt string) (string, error) {
	fmt.Fprint(c.stderr, prompt)
	password, err := term.ReadPassword(terminal)
	fmt.Fprintln(c.stderr)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	return string(password), nil
}
