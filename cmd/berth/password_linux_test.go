package main

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runAtTerminal runs a command at a terminal and types the answers to its questions. It returns the
// exit code and the content of the screen.
func runAtTerminal(t *testing.T, data string, answers []string, args ...string) (code int, seen string) {
	t.Helper()
	screen, terminal := openTerminal(t)
	cmd := command(t, nil, append(args, "--data", data)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	shown := &strings.Builder{}
	read := func(until string) {
		t.Helper()
		b := make([]byte, 1)
		for until == "" || !strings.HasSuffix(shown.String(), until) {
			if _, err := io.ReadFull(screen, b); err != nil {
				if until != "" {
					t.Fatalf("the screen ends with %q instead of %q", shown, until)
				}
				return // the last writer has closed the terminal
			}
			shown.Write(b)
		}
	}
	for _, answer := range answers {
		read(": ")
		for echoes(t, screen) {
			time.Sleep(time.Millisecond)
		}
		if _, err := screen.WriteString(answer); err != nil {
			t.Fatal(err)
		}
	}
	read("")
	_ = cmd.Wait() // the exit code is enough
	if !echoes(t, screen) {
		t.Errorf("after %q the terminal shows nothing any more", answers)
	}
	return cmd.ProcessState.ExitCode(), shown.String()
}

// echoes reports whether the terminal shows what is typed.
func echoes(t *testing.T, screen *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(screen.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// TestPasswordIsAskedFor: at a terminal a password is asked for twice, without echo.
func TestPasswordIsAskedFor(t *testing.T) {
	t.Parallel()
	data := newData(t)
	for _, c := range []struct {
		answers []string
		code    int
		want    string
	}{
		{[]string{"typed secret\n", "typed sekret\n"}, 1, "two different passwords"},
		{[]string{"typed secret\n", "typed secret\n"}, 0, "added user alice"},
		{nil, 1, "already"}, // before it asks for a password
	} {
		code, seen := runAtTerminal(t, data, c.answers, "user", "add", "alice")
		if code != c.code || !strings.Contains(seen, c.want) || strings.Contains(seen, "typed") {
			t.Errorf("%q: %d, %q", c.answers, code, seen)
		}
	}
	if code, seen := runAtTerminal(t, data, []string{"half a secr\x03"}, "user", "passwd", "alice"); code != 1 || strings.Contains(seen, "changed") {
		t.Errorf("interrupted: %d, %q", code, seen)
	}
	p := serve(t, data, nil)
	if status := p.status(basic("alice", "typed secret")...); status != 200 {
		t.Errorf("alice: %d", status)
	}
}

// TestSecretsAreNotKept: the data directory has neither passwords nor tokens.
func TestSecretsAreNotKept(t *testing.T) {
	t.Parallel()
	o := cli{t, newData(t)}
	o.ok("the very password", "user", "add", "alice", "--password-stdin")
	token := strings.TrimSpace(o.ok("", "token", "create", "--owner", "alice", "--scope", "repository:**:pull"))
	if files := grep(t, o.data, "alice"); len(files) == 0 {
		t.Error("not even the name is found")
	}
	for _, secret := range []string{"the very password", token} {
		if files := grep(t, o.data, secret); len(files) > 0 {
			t.Errorf("a secret is in %v", files)
		}
	}
}
