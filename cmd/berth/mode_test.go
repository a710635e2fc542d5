package main

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/auth/login"
)

// basic returns the header of Basic authentication.
func basic(user, password string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}
}

// status returns the status of GET /v2/.
func (p *program) status(header ...string) int {
	p.t.Helper()
	status, _, _ := p.request("GET", "/v2/", nil, header...)
	return status
}

// addUser adds a user by the command. A server may be running on the data.
func addUser(t *testing.T, data, name, password string) {
	t.Helper()
	if r := berthReading(t, password+"\n", nil, "user", "add", name, "--password-stdin", "--data", data); r.code != 0 {
		t.Fatalf("user add: %+v", r)
	}
}

// htpasswd writes a file with the user alice, password "secret".
func htpasswd(t *testing.T) string {
	t.Helper()
	hash, err := login.HashPassword("secret", 8)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "htpasswd", "alice:"+hash+"\n")
}

// printed returns a command of the program as messages print it.
func printed(t *testing.T, command, data string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return self + " " + command + " --data " + data
}

// TestUserAddActsOnTheNextRequest: a new user can log in at once, even if the same credentials were
// refused just before.
func TestUserAddActsOnTheNextRequest(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := serve(t, data, nil, "--auth-mode", "berth")
	if status := p.status(basic("alice", "secret")...); p.line.Auth != "on" || status != http.StatusUnauthorized {
		t.Fatalf("before: %d, %+v", status, p.line)
	}
	p.await("the command in the log", func() bool {
		return strings.Contains(p.log.String(), `"command":"`+printed(t, "user add NAME", data)+`"`)
	})
	addUser(t, data, "alice", "secret")
	if status := p.status(basic("alice", "secret")...); status != http.StatusOK {
		t.Errorf("after user add: %d", status)
	}
	p.stop()
}

// TestFirstUserClosesARunningRegistry: the first user turns authentication on, also for an upload
// in progress.
func TestFirstUserClosesARunningRegistry(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := serve(t, data, nil, "--debug-addr", "127.0.0.1:0")
	if _, err := pushImage(p.url, "app", "1", []byte("layer")); err != nil || p.line.Auth != "off" {
		t.Fatalf("%v, %+v", err, p.line)
	}
	content := bytes.Repeat([]byte("x"), 1<<20)
	u := beginUpload(t, p, len(content))
	u.send(content[:len(content)/2])
	u.awaitStored()
	addUser(t, data, "alice", "secret")
	p.await("authentication", func() bool { return p.status() == http.StatusUnauthorized })
	if status := p.status(basic("alice", "secret")...); status != http.StatusOK {
		t.Errorf("alice: %d", status)
	}
	u.send(content[len(content)/2:])
	if resp := u.answer(); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("an upload that was open: %s", resp.Status)
	}
	if status, _, _ := p.request("GET", "/v2/app/manifests/1", nil); status != http.StatusUnauthorized {
		t.Errorf("anonymous: %d", status)
	}
	if status, _, _ := p.request("GET", "/readyz", nil); status != http.StatusOK {
		t.Errorf("/readyz: %d", status)
	}
	if _, _, page, err := exchange("GET", "http://"+p.line.Debug+"/metrics", nil); err != nil || !strings.Contains(string(page), `berth_http_requests_total{`) {
		t.Errorf("metrics: %v\n%s", err, page)
	}
	p.stop()
}

// TestRemovingTheLastUserDoesNotOpen: only auth.mode none opens a registry again.
func TestRemovingTheLastUserDoesNotOpen(t *testing.T) {
	t.Parallel()
	data := newData(t)
	addUser(t, data, "alice", "secret")
	p := serve(t, data, nil)
	if status := p.status(basic("alice", "secret")...); p.line.Auth != "on" || status != http.StatusOK {
		t.Fatalf("with a user: %d, %+v", status, p.line)
	}
	if r := berth(t, nil, "user", "remove", "alice", "--data", data); r.code != 0 {
		t.Fatalf("user remove: %+v", r)
	}
	if with, without := p.status(basic("alice", "secret")...), p.status(); with != http.StatusUnauthorized || without != http.StatusUnauthorized {
		t.Errorf("without users: %d with the old password, %d without", with, without)
	}
	p.stop()
	p = serve(t, data, nil)
	if status := p.status(); p.line.Auth != "on" || status != http.StatusUnauthorized {
		t.Errorf("after a restart: %d, %+v", status, p.line)
	}
	p.stop()
	p = serve(t, data, nil, "--auth-mode", "none")
	if status := p.status(); p.line.Auth != "off" || status != http.StatusOK {
		t.Errorf("auth.mode none: %d, %+v", status, p.line)
	}
	p.await("a warning", func() bool { return strings.Contains(p.log.String(), "everyone may do everything") })
	p.stop()
}

// TestWhatTurnsAuthenticationOn also leaves it on when it goes away.
func TestWhatTurnsAuthenticationOn(t *testing.T) {
	t.Parallel()
	policy := writeFile(t, "policy.yaml", "policy:\n  - {name: all, who: [authenticated], repos: ['**'], allow: [pull]}\n")
	for _, args := range [][]string{{"--auth-mode", "berth"}, {"--auth-policy", policy}, {"--auth-htpasswd", htpasswd(t)}} {
		t.Run(args[0], func(t *testing.T) {
			data := newData(t)
			for _, args := range [][]string{args, nil} {
				p := serve(t, data, nil, args...)
				if status := p.status("Host", "evil.test"); p.line.Auth != "on" || status != http.StatusUnauthorized {
					t.Errorf("%v: %d, %+v", args, status, p.line)
				}
				p.stop()
			}
		})
	}
}

// beyondLoopback starts a server on all addresses, and sets p.url to the one on loopback.
func beyondLoopback(t *testing.T, data string, args ...string) *program {
	t.Helper()
	p := serve(t, data, nil, append([]string{"--addr", "0.0.0.0:0"}, args...)...)
	_, port, _ := strings.Cut(p.line.Addr, "]:")
	p.url = "http://127.0.0.1:" + port
	return p
}

// TestFirstStartBeyondLoopback: a new registry beyond loopback starts with a user, whose password
// is not in the log.
func TestFirstStartBeyondLoopback(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := beyondLoopback(t, data)
	if status := p.status(); p.line.Auth != "on" || status != http.StatusUnauthorized {
		t.Errorf("%d, %+v", status, p.line)
	}
	p.await("the last warning of the start", func() bool { return strings.Contains(p.log.String(), "http.external_url is not set") })
	log := p.log.String()
	command := printed(t, "user passwd admin", data)
	if !strings.Contains(log, `"command":"`+command+`"`) {
		t.Errorf("log: %s", log)
	}
	if words := longWords(log, 26); len(words) > 0 {
		t.Errorf("the log has what may be a password: %q", words)
	}
	if r := berthReading(t, "new password\n", nil, "user", "passwd", "admin", "--data", data, "--password-stdin"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	if status := p.status(basic("admin", "new password")...); status != http.StatusOK {
		t.Errorf("admin: %d", status)
	}
	p.stop()
	p = beyondLoopback(t, data, "--http-external-url", "https://registry.test")
	if log := p.log.String(); strings.Contains(log, `"level":"WARN"`) {
		t.Errorf("second start: %s", log)
	}
	if status := p.status(basic("admin", "new password")...); status != http.StatusOK {
		t.Errorf("admin after a restart: %d", status)
	}
	p.stop()
}

// longWords returns the words of n letters and digits of rand.Text's alphabet.
func longWords(text string, n int) []string {
	var found []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", r) }) {
		if len(word) == n {
			found = append(found, word)
		}
	}
	return found
}

// TestDataWithoutUsersIsRefused: an open registry with data does not start beyond loopback until it
// has a user.
func TestDataWithoutUsersIsRefused(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := serve(t, data, nil)
	if _, err := pushImage(p.url, "app", "1", []byte("layer")); err != nil {
		t.Fatal(err)
	}
	p.stop()
	r := berth(t, nil, "serve", "--data", data, "--addr", "0.0.0.0:0")
	for _, want := range []string{"0.0.0.0:0", printed(t, "user add NAME", data), "auth.mode: none", "BERTH_AUTH_MODE=none", "--auth-mode none", "127.0.0.1"} {
		if r.code != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("code %d, %q does not say %q", r.code, r.stderr, want)
		}
	}
	addUser(t, data, "alice", "secret")
	p = beyondLoopback(t, data)
	if status, _, _ := p.request("GET", "/v2/app/manifests/1", nil, basic("alice", "secret")...); status != http.StatusOK {
		t.Errorf("alice: %d", status)
	}
	p.stop()
}

func TestMemoryBeyondLoopbackIsRefused(t *testing.T) {
	t.Parallel()
	r := berth(t, nil, "serve", "--storage-bucket", "mem://", "--addr", "0.0.0.0:0")
	if r.code != 1 || !strings.Contains(r.stderr, "auth.htpasswd") || !strings.Contains(r.stderr, "auth.mode: none") {
		t.Errorf("%+v", r)
	}
	p := serve(t, newData(t), nil, "--storage-bucket", "mem://", "--auth-htpasswd", htpasswd(t))
	if status := p.status(basic("alice", "secret")...); status != http.StatusOK {
		t.Errorf("alice: %d", status)
	}
	p.stop()
}

// TestHangupWithoutFiles: SIGHUP does not end a server that has no files to reload.
func TestHangupWithoutFiles(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil)
	p.signal(syscall.SIGHUP)
	p.await("the log", func() bool { return strings.Contains(p.log.String(), "SIGHUP") })
	if status := p.status(); status != http.StatusOK {
		t.Errorf("ping: %d", status)
	}
	p.stop()
}

// TestStopIgnoresHangups: SIGHUP does not end a server that is stopping.
func TestStopIgnoresHangups(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil, "--shutdown-delay", "1h")
	p.signal(syscall.SIGTERM)
	p.await("not ready", func() bool {
		status, _, _ := p.request("GET", "/readyz", nil)
		return status == http.StatusServiceUnavailable
	})
	p.signal(syscall.SIGHUP)
	p.await("the log", func() bool { return strings.Contains(p.log.String(), "SIGHUP") })
	if status := p.status(); status != http.StatusOK {
		t.Errorf("ping: %d", status)
	}
	p.signal(os.Interrupt)
	p.awaitExit(1)
}
