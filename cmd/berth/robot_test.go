package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth/login"
)

func TestRobot(t *testing.T) {
	t.Parallel()
	o := cli{t, newData(t)}
	o.ok("password", "user", "add", "alice", "--password-stdin")
	secret := strings.TrimSpace(o.ok("", "robot", "create", "deployer", "--group", "cluster", "--scope", "repository:prod/**:pull", "--expires", "30d"))
	if kind, err := login.ParseSecret(secret); kind != login.RobotToken || err != nil {
		t.Errorf("the token is of kind %q, %v", kind, err)
	}
	p := serve(t, o.data, nil)
	status := func(name, secret string, want int) {
		t.Helper()
		if got := p.status(basic(name, secret)...); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	status("robot+deployer", secret, http.StatusOK)
	status("_token", secret, http.StatusOK)
	status("deployer", secret, http.StatusUnauthorized)

	second := strings.TrimSpace(o.ok("", "token", "create", "--owner", "robot+deployer", "--scope", "repository:prod/**:pull"))
	status("robot+deployer", second, http.StatusOK)
	var robots, users []accountInfo
	o.into(&robots, "", "robot", "list")
	o.into(&users, "", "user", "list")
	if len(robots) != 1 || robots[0].Name != "deployer" || robots[0].Groups[0] != "cluster" || len(users) != 1 {
		t.Errorf("robots %+v, users %+v", robots, users)
	}
	o.refused("", []string{`there is a robot "deployer" already`}, "robot", "create", "deployer", "--scope", "repository:**:pull")
	o.refused("", []string{`no user "deployer"`}, "user", "remove", "deployer")
	o.refused("", []string{"reserved"}, "robot", "create", "oidc", "--scope", "repository:**:pull")
	o.refused("", []string{"--scope is missing"}, "robot", "create", "other")
	o.ok("", "robot", "remove", "deployer")
	status("robot+deployer", secret, http.StatusUnauthorized)
	status("_token", second, http.StatusUnauthorized)
}
