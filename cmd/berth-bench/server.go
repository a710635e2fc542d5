package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// program is a registry to measure. It is started for each pair, unless url and pid are set: then
// it runs already.
type program struct {
	name      string
	path      string
	args      func(addr, dir string) []string
	readyPath string // answers 200 as soon as requests are served
	debug     bool   // start it with a debug address

	url string
	pid int
}

func floorProgram(path string) program {
	return program{
		name:      "floor",
		path:      path,
		args:      func(addr, dir string) []string { return []string{"floor", "--addr", addr, "--dir", dir} },
		readyPath: "/v2/",
	}
}

func berthProgram(path string) program {
	return program{
		name:      "berth",
		path:      path,
		args:      func(addr, dir string) []string { return []string{"serve", "--addr", addr, "--data", dir} },
		readyPath: "/readyz",
	}
}

// external reports whether the program was started by others.
func (p program) external() bool { return p.url != "" }

// server is a running program.
type server struct {
	*client
	name     string
	pid      int
	debugURL string        // "" without a debug address
	readyIn  time.Duration // time from the start to the first answer
	cmd      *exec.Cmd     // nil if the program is external
	exited   chan error    // receives the result of Wait
}

// start starts p on dir and returns when it is ready. Its log is written to dir.log.
func (p program) start(ctx context.Context, dir string) (*server, error) {
	if p.external() {
		c, err := newClient(p.url, maxClients)
		return &server{client: c, name: p.name, pid: p.pid}, err
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c, err := newClient("http://"+addr, maxClients)
	if err != nil {
		return nil, err
	}
	s := &server{client: c, name: p.name, exited: make(chan error, 1)}
	args := p.args(addr, dir)
	if p.debug {
		debugAddr, err := freeAddress()
		if err != nil {
			return nil, err
		}
		args = append(args, "--debug-addr", debugAddr)
		s.debugURL = "http://" + debugAddr
	}
	log, err := os.OpenFile(dir+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()

	s.cmd = exec.Command(p.path, args...)
	s.cmd.Env = cleanEnv(os.Environ())
	s.cmd.Stdout, s.cmd.Stderr = log, log
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.pid = s.cmd.Process.Pid
	go func() { s.exited <- s.cmd.Wait() }()
	if err := s.awaitReady(ctx, p.readyPath); err != nil {
		return nil, errors.Join(fmt.Errorf("%s on %s: %w\n%s", p.name, dir, err, logTail(log.Name())), s.stop())
	}
	s.readyIn = time.Since(began)
	return s, nil
}

// awaitReady polls the server until it answers 200.
func (s *server) awaitReady(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, _, err := s.exchange(ctx, http.MethodGet, path, nil, http.StatusOK)
		if err == nil {
			return nil
		}
		select {
		case exit := <-s.exited:
			s.exited <- exit
			return fmt.Errorf("exited: %v", exit)
		case <-ctx.Done():
			return fmt.Errorf("not ready: %w", err)
		case <-time.After(time.Millisecond):
		}
	}
}

// stop ends the process, unless it is external, and waits for it. It may be called again.
func (s *server) stop() error {
	s.close()
	if s.cmd == nil {
		return nil
	}
	// An error means that the process has ended already, and Wait returns why.
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	var exit error
	select {
	case exit = <-s.exited:
	case <-time.After(time.Minute):
		exit = errors.Join(errors.New("did not stop within a minute"), s.cmd.Process.Kill(), <-s.exited)
	}
	s.exited <- nil
	if exit != nil {
		return fmt.Errorf("%s: %w", s.name, exit)
	}
	return nil
}

// cleanEnv returns env without the variables that would change a server's settings.
func cleanEnv(env []string) []string {
	var kept []string
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		switch {
		case strings.HasPrefix(name, "BERTH_"):
		case name == "GOGC", name == "GOMEMLIMIT", name == "GOMAXPROCS", name == "GODEBUG":
		default:
			kept = append(kept, v)
		}
	}
	return kept
}

// freeAddress returns a loopback address with a port that is free at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// logTail returns the end of a log file, for an error.
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 2000 {
		if _, err := f.Seek(-2000, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, _ := io.ReadAll(f)
	return strings.TrimSpace(string(text))
}

// buildBerth builds the berth of this module into dir.
func buildBerth(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "berth")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, "github.com/berth-registry/berth/cmd/berth")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build of berth: %w\n%s", err, out)
	}
	return path, nil
}
