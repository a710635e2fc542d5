package testserver

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// storesModule pins the servers that are Go programs.
const storesModule = "conformance/clients/stores"

// startTimeout is the time in which a server has to answer. It is long, because the machine may be
// busy and the program cold.
const startTimeout = 2 * time.Minute

// process is a server that runs until the test process ends. It is started at most once.
type process struct {
	once sync.Once
	addr string    // host and port
	dir  string    // its data, removed at the end
	life io.Closer // its supervisor's standard input; never closed, and kept from the collector
	err  error
}

// runServer is a script for supervise that runs a server and removes its data at the end. Its
// arguments are the directory of the data and the command line of the server.
const runServer = `dir=$1; shift; "$@" >"$dir.log" 2>&1 & read -r _; kill $!; wait; rm -rf "$dir" "$dir.log"`

// start starts the server and sets environment variables of this process, unless that is done.
// command returns the program and its arguments for the address and the data directory. ready
// is the path that the server answers when it is up, with whatever status.
func (p *process) start(t testing.TB, env map[string]string, ready string, command func(addr, dir string) []string) {
	t.Helper()
	p.once.Do(func() {
		p.err = errors.New("the server did not start in an earlier test") // should this one end here
		p.addr = FreeAddr(t)
		dir, err := os.MkdirTemp("", "berth-store-")
		if err != nil {
			t.Fatal(err)
		}
		p.dir = dir
		for name, value := range env {
			os.Setenv(name, strings.ReplaceAll(value, "ADDR", p.addr))
		}
		p.err = p.run(ready, command(p.addr, p.dir))
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
}

func (p *process) run(ready string, command []string) error {
	var err error
	if p.life, err = supervise(runServer, append([]string{p.dir}, command...)...); err != nil {
		return err
	}
	for until := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + p.addr + ready)
		if err == nil {
			return resp.Body.Close()
		}
		if time.Now().After(until) {
			return err
		}
	}
}

// splitAddr returns the host and the port of an address.
func splitAddr(t testing.TB, addr string) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// goTool returns the path of a Go program that storesModule pins, which it builds if needed.
func goTool(t testing.TB, pkg string) string {
	t.Helper()
	out, err := exec.Command("go", "tool", "-C", fromRoot(t, storesModule), "-n", pkg).Output()
	if err != nil {
		SkipOrFail(t, "%s cannot be built: %v", pkg, err)
	}
	return strings.TrimSpace(string(out))
}

// fromRoot returns the path of a file of the repository. Tests run in a directory of it.
func fromRoot(t testing.TB, path string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		found := filepath.Join(dir, path)
		if _, err := os.Stat(found); err == nil {
			return found
		}
		if dir == filepath.Dir(dir) {
			SkipOrFail(t, "%s is not there", path)
		}
		dir = filepath.Dir(dir)
	}
}
