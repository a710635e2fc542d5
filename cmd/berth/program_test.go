package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runMain makes the test binary run as berth. The tests start themselves as the program, so that it
// is built like the test (the race detector, coverage).
const runMain = "BERTH_TEST_RUN_MAIN=1"

// exitAtOnce is an option of the race detector. By default a program that ends sleeps for a second
// before it does, which is most of the time of a short command. Reports that are being written are
// waited for in any case, and make the exit code 66.
const exitAtOnce = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	if name, value, _ := strings.Cut(runMain, "="); os.Getenv(name) == value {
		main()
	}
	os.Exit(m.Run())
}

// command returns berth with arguments, in an environment without any settings but those of env.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = t.TempDir()
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "BERTH_") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(append(cmd.Env, runMain, "GORACE="+exitAtOnce+" "+os.Getenv("GORACE")), env...)
	return cmd
}

// commandTimeout bounds the wait for a process: a command that should end, or a server that should
// do something.
const commandTimeout = 2 * time.Minute

// result is the outcome of a command that has ended.
type result struct {
	code           int
	stdout, stderr string
}

// berth runs a command to its end.
func berth(t *testing.T, env []string, args ...string) result {
	t.Helper()
	return berthReading(t, "", env, args...)
}

// berthReading runs a command that reads its standard input.
func berthReading(t *testing.T, input string, env []string, args ...string) result {
	t.Helper()
	cmd := command(t, env, args...)
	cmd.Stdin = strings.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(commandTimeout, func() {
		t.Errorf("%v does not end", args)
		_ = cmd.Process.Kill()
	})
	err := cmd.Wait()
	stuck.Stop()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// program is a running `berth serve`.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  output
	line startLine
	url  string
	done chan struct{} // closed when the process has ended
}

// output is a file that a program writes to and a test reads at the same time.
type output struct{ *os.File }

func newOutput(t *testing.T) output {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "output")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return output{f}
}

// String returns what has been written so far.
func (o output) String() string {
	content, err := os.ReadFile(o.Name())
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// startLine is the line that a server logs when it is ready.
type startLine struct {
	Msg, Addr, URL, Auth, Data, Push, Debug string
}

// serve starts a server on a free port and waits until it is ready. The end of the test kills it if
// it still runs.
func serve(t *testing.T, data string, env []string, args ...string) *program {
	t.Helper()
	args = append([]string{"serve", "--data", data, "--addr", "127.0.0.1:0"}, args...)
	p := &program{t: t, cmd: command(t, env, args...), log: newOutput(t), done: make(chan struct{})}
	p.cmd.Stderr = p.log.File // a file, so that the program writes it without a copying goroutine
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // ProcessState has the result
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if strings.Contains(p.log.String(), "WARNING: DATA RACE") { // the exit code of a killed server does not say it
			t.Error("the race detector reports a data race")
		}
		if t.Failed() {
			t.Logf("log of the server:\n%s", p.log)
		}
	})
	p.await("the start line", func() bool {
		for line := range strings.Lines(p.log.String()) {
			if json.Unmarshal([]byte(line), &p.line) == nil && p.line.Msg == "serving" {
				return true
			}
		}
		return false
	})
	p.url = p.line.URL
	return p
}

// await waits for a condition of the server. It fails if the server ends before, or after
// commandTimeout.
func (p *program) await(what string, happened func() bool) {
	p.t.Helper()
	timeout := time.After(commandTimeout)
	for !happened() {
		select {
		case <-timeout:
			p.t.Fatalf("waited %v for %s", commandTimeout, what)
		case <-p.done:
			if !happened() {
				p.t.Fatalf("the server ended (%v) before %s:\n%s", p.cmd.ProcessState, what, p.log)
			}
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *program) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// awaitExit waits for the end of the process and checks its exit code.
func (p *program) awaitExit(code int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(commandTimeout):
		p.t.Fatalf("the server does not end in %v", commandTimeout)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.t.Errorf("exit code %d, want %d (%v)", got, code, p.cmd.ProcessState)
	}
}

// stop stops the server and requires exit code 0.
func (p *program) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.awaitExit(0)
}

// request makes one exchange with the server. It fails the test if there is no answer.
func (p *program) request(method, path string, body []byte, header ...string) (status int, h http.Header, answer []byte) {
	p.t.Helper()
	status, h, answer, err := exchange(method, p.url+path, body, header...)
	if err != nil {
		p.t.Fatal(err)
	}
	return status, h, answer
}

// exchange sends a request on a new connection. header has names and values in turn; Host may be
// one of them.
func exchange(method, url string, body []byte, header ...string) (int, http.Header, []byte, error) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, answer, err
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// expect returns err, or an error if the answer does not have the expected status.
func expect(want int, what string, status int, answer []byte, err error) error {
	if err == nil && status != want {
		err = fmt.Errorf("%s: %d %s", what, status, answer)
	}
	return err
}

// pushBlob pushes a blob in one request.
func pushBlob(url, repo string, content []byte) error {
	status, _, answer, err := exchange("POST", url+"/v2/"+repo+"/blobs/uploads/?digest="+digestOf(content), content,
		"Content-Type", "application/octet-stream")
	return expect(http.StatusCreated, "push of a blob", status, answer, err)
}

// pushImage pushes an image of one layer and returns its manifest.
func pushImage(url, repo, tag string, layer []byte) (manifest []byte, err error) {
	config := []byte(`{"architecture":"amd64","os":"linux","tag":"` + tag + `"}`)
	for _, content := range [][]byte{config, layer} {
		if err := pushBlob(url, repo, content); err != nil {
			return nil, err
		}
	}
	manifest = fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":%d}]}`,
		digestOf(config), len(config), digestOf(layer), len(layer))
	status, _, answer, err := exchange("PUT", url+"/v2/"+repo+"/manifests/"+tag, manifest,
		"Content-Type", "application/vnd.oci.image.manifest.v1+json")
	return manifest, expect(http.StatusCreated, "push of a manifest", status, answer, err)
}

// pullImage checks that an image can be pulled unchanged by its tag and by its digest.
func pullImage(url, repo, tag string, manifest, layer []byte) error {
	for path, want := range map[string][]byte{
		"/manifests/" + tag:                manifest,
		"/manifests/" + digestOf(manifest): manifest,
		"/blobs/" + digestOf(layer):        layer,
	} {
		status, _, answer, err := exchange("GET", url+"/v2/"+repo+path, nil)
		if err := expect(http.StatusOK, repo+path, status, answer, err); err != nil {
			return err
		}
		if !bytes.Equal(answer, want) {
			return fmt.Errorf("%s%s has %d bytes that are not the %d pushed", repo, path, len(answer), len(want))
		}
	}
	return nil
}

// newData returns the path of a data directory that does not exist yet.
func newData(t *testing.T) string { return filepath.Join(t.TempDir(), "berth-data") }

// writeFile writes a file into a new directory and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
