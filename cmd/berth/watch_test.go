package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

const (
	publicRead  = "policy:\n  - name: public\n    who: [anonymous]\n    repos: [\"public/**\"]\n    allow: [pull]\n"
	publicWrite = "policy:\n  - name: public\n    who: [anonymous]\n    repos: [\"public/**\"]\n    allow: [push]\n"
)

// token fetches a token for a scope with the credentials in the header.
func (p *program) token(scope string, header ...string) string {
	p.t.Helper()
	status, _, answer := p.request("GET", "/v2/auth?service=berth&scope="+scope, nil, header...)
	var got struct{ Token string }
	if err := json.Unmarshal(answer, &got); err != nil || status != http.StatusOK {
		p.t.Fatalf("token: %d %s, %v", status, answer, err)
	}
	return got.Token
}

// TestPolicyIsReloaded: the policy is reloaded when its file changes, and on SIGHUP. A file with a
// mistake changes nothing, and the log has the line of the mistake once.
func TestPolicyIsReloaded(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "policy.yaml", publicRead)
	p := serve(t, newData(t), nil, "--auth-policy", file)
	mayPush := func() bool {
		status, _, _ := p.request("POST", "/v2/public/app/blobs/uploads/", nil, "Authorization", "Bearer "+p.token("repository:public/app:push,pull"))
		return status == http.StatusAccepted
	}
	if mayPush() {
		t.Fatal("the policy is not in force")
	}
	replaceFile(t, file, publicWrite)
	p.await("the change", mayPush)

	replaceFile(t, file, strings.Replace(publicRead, "allow:", "alow:", 1))
	p.await("the mistake in the log", func() bool { return strings.Contains(p.log.String(), "policy.yaml:5") })
	if !mayPush() {
		t.Error("a file with a mistake is in force")
	}
	failures := func() int { return strings.Count(p.log.String(), "reload failed") }
	if n := failures(); n != 1 {
		t.Errorf("%d failures in the log", n)
	}
	p.signal(syscall.SIGHUP)
	p.await("SIGHUP", func() bool { return failures() == 2 })
	if !mayPush() {
		t.Error("a file with a mistake is in force after SIGHUP")
	}

	replaceFile(t, file, publicRead)
	p.signal(syscall.SIGHUP)
	p.await("the change back", func() bool { return !mayPush() })
	p.stop()
}

// TestHtpasswdIsReloaded: the same for htpasswd files.
func TestHtpasswdIsReloaded(t *testing.T) {
	t.Parallel()
	file := htpasswd(t)
	p := serve(t, newData(t), nil, "--auth-htpasswd", file)
	alice := func() int { return p.status(basic("alice", "secret")...) }
	if status := alice(); status != http.StatusOK {
		t.Fatalf("alice: %d", status)
	}
	replaceFile(t, file, "alice:{SHA}x\n")
	p.await("the mistake in the log", func() bool { return strings.Contains(p.log.String(), "htpasswd:1") })
	if status := alice(); status != http.StatusOK {
		t.Errorf("alice, after a mistake in the file: %d", status)
	}
	replaceFile(t, file, readTestFile(t, htpasswd(t))+"bob\n")
	p.await("the faulty line in the log", func() bool {
		return strings.Contains(p.log.String(), `"msg":"auth.htpasswd: `+file+":2: expected NAME:HASH")
	})
	replaceFile(t, file, "# nobody\n")
	p.await("the change", func() bool { return alice() == http.StatusUnauthorized })
	p.stop()
}
