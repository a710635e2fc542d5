package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
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

// TestFirstPasswordIsForTheTerminal: the first start on a terminal shows the password there, once,
// unless the log is JSON.
func TestFirstPasswordIsForTheTerminal(t *testing.T) {
	for format, shown := range map[string]int{"auto": 1, "text": 1, "json": 0} {
		t.Run(format, func(t *testing.T) {
			data := newData(t)
			screen, terminal := openTerminal(t)
			cmd := command(t, nil, "serve", "--data", data, "--addr", "0.0.0.0:0", "--log-format", format)
			cmd.Stderr = terminal
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			terminal.Close()
			p := &program{t: t, cmd: cmd, log: newOutput(t), done: make(chan struct{})}
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
			p.await("the user", func() bool { return strings.Contains(p.log.String(), "user passwd admin") })
			words := longWords(p.log.String(), 26)
			if len(words) != shown {
				t.Fatalf("%d passwords: %s", len(words), p.log)
			}
			if shown == 0 {
				return
			}
			_, port, _ := strings.Cut(p.log.String(), "serves http://[::]:")
			port, _, _ = strings.Cut(port, ",")
			p.url = "http://127.0.0.1:" + port
			if status := p.status(basic("admin", words[0])...); status != http.StatusOK {
				t.Errorf("admin: %d\n%s", status, p.log)
			}
			if files := grep(t, data, words[0]); len(files) > 0 {
				t.Errorf("the password is in %v", files)
			}
		})
	}
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
