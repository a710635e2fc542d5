// Package conformance tests Berth from outside. It builds the program, starts it as its users do,
// and tests it with the OCI conformance suite, with common clients, and with clients that abort,
// stall and send wrong data. Only tree_test.go, docs_test.go and width_test.go read the source.
//
// A test that needs a program which is not installed is skipped. With BERTH_TEST_ALL=1 in the
// environment, which `make test` sets, it fails instead.
package conformance

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestMain makes one directory for all programs that the tests build.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "berth-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds.dir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// builds has the programs that this run builds.
var builds struct {
	dir  string
	mu   sync.Mutex // guards once
	once map[string]func() (path string, err error)
}

// build compiles a Go package and returns the path of the program. dir is the directory of its
// module. Each program is built once in a run.
func build(t testing.TB, dir, pkg string) string {
	t.Helper()
	path, err := tryBuild(dir, pkg)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// tryBuild is build for a program that may be unavailable. Tests that run in parallel wait only for
// the program that they need.
func tryBuild(dir, pkg string) (string, error) {
	builds.mu.Lock()
	key := dir + " " + pkg
	once := builds.once[key]
	if once == nil {
		if builds.once == nil {
			builds.once = map[string]func() (string, error){}
		}
		// Clients send the name of their program, so it must be kept.
		out := filepath.Join(builds.dir, strconv.Itoa(len(builds.once)), filepath.Base(pkg))
		once = sync.OnceValues(func() (string, error) { return out, compile(dir, pkg, out) })
		builds.once[key] = once
	}
	builds.mu.Unlock()
	return once()
}

// compile compiles a Go package of the module in dir.
func compile(dir, pkg, out string) error {
	cmd := exec.Command("go", "build", "-C", dir, "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is shipped
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, msg)
	}
	return nil
}

// berthBinary returns the path of the program under test.
func berthBinary(t testing.TB) string { return build(t, "..", "./cmd/berth") }

// options are the options of a server. The zero value is a server with default settings on a free
// port with a new data directory.
type options struct {
	Data    string     // data directory; "" = a temporary one, removed after the test
	Env     []string   // added to the environment, "BERTH_LOG_LEVEL=debug"
	Args    []string   // added to `berth serve`
	Program string     // path of another build of berth; "" = berthBinary
	Listen  string     // address to listen on, "0.0.0.0"; "" = 127.0.0.1 alone
	TLS     *authority // the server uses its certificate; nil = plain HTTP
	Stderr  *os.File   // gets the log; nil = Log. The caller closes it
}

// server is a started `berth serve`. Its methods fail the test on any unexpected result. Only Log
// and Await may be called from other goroutines than the test's.
type server struct {
	URL  string // "http://127.0.0.1:41234"
	Addr string // "127.0.0.1:41234"; kept across Restart
	Data string // data directory; kept across Restart

	t      testing.TB
	opts   options
	client *http.Client // for the test's own requests
	cmd    *exec.Cmd
	done   chan struct{} // closed when the process has been reaped
	err    error         // the result of Wait; read after done
	stdout bytes.Buffer  // read after done

	mu  sync.Mutex // guards log
	log []logLine
}

// logLine is one line of the server's log. A request has the Msg "request". A line of the audit has
// the Msg "audit" and an Event.
type logLine struct {
	ClientID   string `json:"client_request_id"`
	Level      string `json:"level"`
	Msg        string `json:"msg"`
	Method     string `json:"method"`
	Route      string `json:"route"`
	Repository string `json:"repository"`
	Reference  string `json:"reference"`
	Status     int    `json:"status"`
	Bytes      int64  `json:"bytes"`
	UserAgent  string `json:"user_agent"`
	Caller     string `json:"caller"`

	Event      string `json:"event"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Outcome    string `json:"outcome"`
	Claimed    string `json:"claimed"`
	Permission string `json:"permission"`
	Rule       string `json:"rule"`
	Asked      string `json:"asked"`
	Granted    string `json:"granted"`

	Raw string `json:"-"` // the whole line, even if it is not JSON
}

// startBerth starts a server and returns when it is ready. At the end of the test the server is
// stopped with SIGTERM, unless the test has stopped it, and must exit with status 0.
func startBerth(t testing.TB, o options) *server {
	t.Helper()
	s := newServer(t, o)
	if err := s.startFirst(); err != nil {
		t.Fatal(err)
	}
	return s
}

// newServer prepares a server for startFirst. What startBerth promises for the end of the test
// holds.
func newServer(t testing.TB, o options) *server {
	t.Helper()
	s := &server{t: t, opts: o, Data: o.Data, client: http.DefaultClient}
	if o.TLS != nil {
		s.client = o.TLS.client()
	}
	if s.Data == "" {
		s.Data = filepath.Join(t.TempDir(), "data")
	}
	t.Cleanup(func() {
		if s.Running() {
			s.Stop()
		}
		if t.Failed() {
			s.dump()
		}
	})
	return s
}

// startFirst chooses a free port, starts the server on it and returns when it is ready.
func (s *server) startFirst() error {
	scheme := "http://"
	if s.opts.TLS != nil {
		scheme = "https://"
	}
	for try := 1; ; try++ {
		s.Addr = testserver.FreeAddr(s.t)
		s.URL = scheme + s.Addr
		err := s.start()
		// Another process may have taken the port since freeAddr returned it.
		if err == nil || try == 3 || !strings.Contains(err.Error(), "address already in use") {
			return err
		}
	}
}

// start runs the program on s.Addr and waits until it is ready.
func (s *server) start() error {
	addr := s.Addr
	if s.opts.Listen != "" {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return err
		}
		addr = net.JoinHostPort(s.opts.Listen, port)
	}
	args := append([]string{"serve", "--data", s.Data, "--addr", addr}, s.opts.Args...)
	if s.opts.TLS != nil {
		args = append(args, "--tls-certificate", s.opts.TLS.certificate, "--tls-key", s.opts.TLS.key)
	}
	program := s.opts.Program
	if program == "" {
		program = berthBinary(s.t)
	}
	s.cmd = exec.Command(program, args...)
	s.cmd.Env = append(append(os.Environ(), "BERTH_LOG_FORMAT=json"), s.opts.Env...)
	s.cmd.SysProcAttr = dieWithParent()
	s.cmd.Stdout = &s.stdout
	var stderr io.Reader = strings.NewReader("")
	if s.opts.Stderr != nil {
		s.cmd.Stderr = s.opts.Stderr
	} else {
		pipe, err := s.cmd.StderrPipe()
		if err != nil {
			return err
		}
		stderr = pipe
	}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		s.readLog(stderr)
		s.err = cmd.Wait()
		close(done)
	}(s.cmd, s.done)
	return s.awaitReady()
}

func (s *server) awaitReady() error {
	const patience = time.Minute
	transport := &http.Transport{DisableKeepAlives: true}
	if s.opts.TLS != nil {
		transport.TLSClientConfig = s.opts.TLS.config()
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: transport}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-s.done:
			return fmt.Errorf("berth serve ended before it was ready: %v\n%s", s.err, s.tail(20))
		case <-time.After(10 * time.Millisecond):
		}
		resp, err := client.Get(s.URL + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	s.Kill()
	return fmt.Errorf("berth serve was not ready after %v\n%s", patience, s.tail(20))
}

// readLog reads the server's log until its end.
func (s *server) readLog(r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		raw, err := lines.ReadString('\n')
		if raw = strings.TrimSpace(raw); raw != "" {
			var l logLine
			// A line that is not JSON, such as a panic, has only Raw.
			_ = json.Unmarshal([]byte(raw), &l)
			l.Raw = raw
			s.mu.Lock()
			s.log = append(s.log, l)
			s.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

// Log returns what the server has written so far, in all its runs. A request may appear up to 200
// ms after its answer; Await waits for it.
func (s *server) Log() []logLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log[:len(s.log):len(s.log)]
}

// Requests returns the lines of the log that match.
func (s *server) Requests(match func(logLine) bool) []logLine {
	var found []logLine
	for _, l := range s.Log() {
		if l.Msg == "request" && match(l) {
			found = append(found, l)
		}
	}
	return found
}

// Await waits for a request in the log that matches, and returns the first one. If none comes it
// fails the test with a message that contains what.
func (s *server) Await(what string, match func(logLine) bool) logLine {
	s.t.Helper()
	var found []logLine
	if !poll(10*time.Second, func() bool { found = s.Requests(match); return len(found) > 0 }) {
		s.t.Fatalf("the log has no request like this: %s", what)
	}
	return found[0]
}

// poll calls ok every 10 ms until it returns true, for at most limit. It reports whether ok
// returned true. It is for conditions of other processes, with a limit far beyond the time that
// they need.
func poll(limit time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// awaitUp calls try until it returns nil, for at most a minute, and returns its last error. It also
// returns an error when the process ends. ended gets the result of the process and keeps it.
func awaitUp(ended chan error, try func() error) (err error) {
	poll(time.Minute, func() bool {
		select {
		case result := <-ended:
			ended <- result
			err = fmt.Errorf("the process ended: %v", result)
			return true
		default:
			err = try()
			return err == nil
		}
	})
	return err
}

// Running reports whether the process has not been reaped yet.
func (s *server) Running() bool {
	if s.done == nil {
		return false
	}
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// Signal sends sig to the process.
func (s *server) Signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Errorf("%v: %v", sig, err)
	}
}

// Stop stops the server with SIGTERM and requires exit status 0.
func (s *server) Stop() {
	s.t.Helper()
	s.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
		if s.err != nil {
			s.t.Errorf("berth serve after SIGTERM: %v\n%s", s.err, s.tail(20))
		}
	case <-time.After(90 * time.Second):
		s.t.Errorf("berth serve did not end after SIGTERM\n%s", s.tail(20))
		s.Kill()
	}
}

// Kill ends the server with SIGKILL and waits for its end. It does nothing if the server has ended
// already.
func (s *server) Kill() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("kill -9: %v", err)
	}
	<-s.done
}

// Restart starts an ended server again, on the same address and data.
func (s *server) Restart() {
	s.t.Helper()
	if s.Running() {
		s.t.Fatal("Restart of a running server")
	}
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

// Pid returns the id of the process.
func (s *server) Pid() int { return s.cmd.Process.Pid }

func (s *server) tail(n int) string {
	log := s.Log()
	var b strings.Builder
	for _, l := range log[max(0, len(log)-n):] {
		b.WriteString(l.Raw + "\n")
	}
	return b.String()
}

// dump logs the end of the log, and all lines that are not requests or have a status of 500 and
// above, for a failed test.
func (s *server) dump() {
	var odd strings.Builder
	for _, l := range s.Log() {
		if (l.Msg != "request" || l.Status >= 500) && odd.Len() < 32<<10 {
			odd.WriteString(l.Raw + "\n")
		}
	}
	s.t.Logf("berth's log, all but requests that went well:\n%s", odd.String())
	s.t.Logf("the end of berth's log:\n%s", s.tail(30))
}

// run runs a command for at most some minutes and returns its standard output. If it fails, the
// test fails with the command's output.
func run(t testing.TB, env []string, name string, args ...string) string {
	t.Helper()
	out, err := tryRun(t, env, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tryRun is run for a command that may fail.
func tryRun(t testing.TB, env []string, name string, args ...string) (string, error) {
	t.Helper()
	return feed("", nil, env, name, args...)
}

// feed is tryRun with a standard input, in a working directory ("" is the test's). It may be called
// from any goroutine.
func feed(dir string, stdin []byte, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = dieWithParent()
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}
