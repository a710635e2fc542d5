package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal makes a pseudo terminal. The screen is the other side: it returns what is written to
// the terminal.
func openTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return screen, terminal
}

// TestFirstPasswordIsNotPrinted: the first start on a terminal, which may be the log of a
// container, prints no password. The command that it prints instead sets one, as printed.
func TestFirstPasswordIsNotPrinted(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"auto", "text", "json"} {
		t.Run(format, func(t *testing.T) {
			data := newData(t)
			p, seen := serveAtTerminal(t, data, "--addr", "0.0.0.0:0", "--log-format", format)
			p.await("the last warning of the start", func() bool { return strings.Contains(seen(), "http.external_url is not set") })
			if words := longWords(seen(), 26); len(words) > 0 {
				t.Errorf("%q may be a password: %s", words, seen())
			}
			command := printed(t, "user passwd admin", data)
			if !strings.Contains(seen(), command) {
				t.Fatalf("no command %s: %s", command, seen())
			}
			shell := exec.Command("sh", "-c", command+" --password-stdin")
			shell.Env, shell.Stdin = p.cmd.Env, strings.NewReader("new password\n")
			if out, err := shell.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", command, err, out)
			}
			_, port, _ := strings.Cut(seen(), "http://[::]:")
			port = port[:strings.IndexFunc(port, func(r rune) bool { return r < '0' || r > '9' })]
			p.url = "http://127.0.0.1:" + port
			if status := p.status(basic("admin", "new password")...); status != http.StatusOK {
				t.Errorf("admin: %d\n%s", status, seen())
			}
		})
	}
}

// serveAtTerminal starts a server whose standard error is a terminal. seen returns what the
// terminal has shown so far.
func serveAtTerminal(t *testing.T, data string, args ...string) (p *program, seen func() string) {
	t.Helper()
	screen, terminal := openTerminal(t)
	cmd := command(t, nil, append([]string{"serve", "--data", data}, args...)...)
	cmd.Stderr = terminal
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	p = &program{t: t, cmd: cmd, log: newOutput(t), done: make(chan struct{})}
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(p.log, screen) // fails when the last writer has closed the terminal
		close(read)
	}()
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-p.done; <-read })
	return p, p.log.String
}

// grep returns the files below a directory that contain a text.
func grep(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
