package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// keys runs a key command with --json and returns the keys in its output.
func keys(t *testing.T, args ...string) []keyJSON {
	t.Helper()
	r := berth(t, nil, append(append([]string{"key"}, args...), "--json")...)
	var list []keyJSON
	if err := json.Unmarshal([]byte(r.stdout), &list); r.code != 0 || err != nil {
		t.Fatalf("%v: %+v, %v", args, r, err)
	}
	return list
}

func keyStates(list []keyJSON) string {
	var states []string
	for _, k := range list {
		states = append(states, string(k.State))
	}
	return strings.Join(states, " ")
}

// TestKeyCommands runs the key commands on a data directory without a server.
func TestKeyCommands(t *testing.T) {
	t.Parallel()
	data := newData(t)
	at := []string{"--data", data}
	addUser(t, data, "alice", "secret")
	if list := keys(t, append(at, "list")...); list == nil || len(list) > 0 {
		t.Errorf("at first: %v", list)
	}
	if r := berth(t, nil, "key", "certificate", "--data", data); r.code != 1 || !strings.Contains(r.stderr, "no key yet") {
		t.Errorf("the certificates of no keys: %+v", r)
	}
	first := keys(t, append(at, "rotate")...)
	if keyStates(first) != "active" || first[0].Created.IsZero() || first[0].Active.IsZero() || !first[0].Retired.IsZero() {
		t.Fatalf("%+v", first)
	}
	published := keys(t, append(at, "rotate", "--auth-token-ttl", "10m")...)
	if keyStates(published) != "active next" || published[0].KID != first[0].KID {
		t.Fatalf("%+v", published)
	}
	if lead := published[1].Active.Sub(published[1].Created); lead != 70*time.Minute {
		t.Errorf("the next key is published %v before it signs", lead)
	}
	if list := keys(t, append(at, "list")...); !slices.Equal(list, published) {
		t.Errorf("listed: %+v, want %+v", list, published)
	}
	r := berth(t, nil, "key", "rotate", "--now", "--data", data)
	if r.code != 0 || !strings.Contains(r.stdout, published[1].KID+" signs from now on") {
		t.Errorf("%+v", r)
	}
	r = berth(t, nil, "key", "rotate", "--data", data)
	if r.code != 0 || !strings.Contains(r.stdout, "until then "+published[1].KID) {
		t.Errorf("%+v", r)
	}
	table := berth(t, nil, "key", "list", "--data", data)
	if lines := strings.Split(strings.TrimSpace(table.stdout), "\n"); len(lines) != 4 || !strings.HasPrefix(lines[0], "KID") ||
		!strings.HasPrefix(lines[1], published[1].KID+"  active") || strings.Contains(table.stdout, "PRIVATE") {
		t.Errorf("%+v", table)
	}
	certificates(t, berth(t, nil, "key", "certificate", "--data", data), keys(t, append(at, "list")...))

	left := keys(t, append(at, "revoke", published[1].KID)...)
	if keyStates(left) != "active retired" || left[1].KID != first[0].KID {
		t.Errorf("%+v", left)
	}
	r = berth(t, nil, "key", "revoke", published[1].KID, "--data", data)
	if r.code != 1 || !strings.Contains(r.stderr, "there is no key") || !strings.Contains(r.stderr, published[1].KID) {
		t.Errorf("revoked twice: %+v", r)
	}
}

// certificates checks that the output of a command has the certificate of each key.
func certificates(t *testing.T, r result, list []keyJSON) {
	t.Helper()
	rest := []byte(r.stdout)
	for _, k := range list {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || string(pem.EncodeToMemory(block)) != k.Certificate {
			t.Fatalf("for %s: %+v", k.KID, r)
		}
		if c, err := x509.ParseCertificate(block.Bytes); err != nil || c.Subject.CommonName != k.KID {
			t.Errorf("for %s: %v, %v", k.KID, c, err)
		}
	}
	if len(rest) > 0 {
		t.Errorf("there is more: %q", rest)
	}
}

// TestKeyFileCommands: keys in a file are listed but not changed, and no database is created.
func TestKeyFileCommands(t *testing.T) {
	t.Parallel()
	data := newData(t)
	file := writeFile(t, "key.pem", string(newPair(t, "key").key))
	at := []string{"--data", data, "--auth-key-file", file}
	list := keys(t, append(at, "list")...)
	if keyStates(list) != "active" || !list[0].Created.IsZero() {
		t.Fatalf("%+v", list)
	}
	certificates(t, berth(t, nil, append([]string{"key", "certificate"}, at...)...), list)
	for _, args := range [][]string{{"rotate"}, {"rotate", "--now"}, {"revoke"}} {
		command := append(append([]string{"key"}, args...), at...)
		if args[0] == "revoke" {
			command = append(command, "--", list[0].KID) // a KID may begin with a dash
		}
		r := berth(t, nil, command...)
		if r.code != 1 || !strings.Contains(r.stderr, file) || !strings.Contains(r.stderr, "come from a file") {
			t.Errorf("%v: %+v", args, r)
		}
	}
	if _, err := os.Stat(data); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the data directory: %v", err)
	}
	r := berth(t, nil, "key", "list", "--data", data, "--auth-key-file", writeFile(t, "empty.pem", ""))
	if r.code != 1 || !strings.Contains(r.stderr, "no PEM block") || !strings.Contains(r.stderr, "empty.pem") {
		t.Errorf("an empty file: %+v", r)
	}
}

func TestKeyCommandsRefuse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"revoke"}, "accepts 1 arg"},
		{[]string{"list", "more"}, "more"},
		{[]string{"list", "--storage-bucket", "mem://"}, "in memory"},
		{[]string{"rotate", "--data", newData(t), "--auth-token-ttl", "59s"}, "1m"},
	} {
		if r := berth(t, nil, append([]string{"key"}, c.args...)...); r.code != 1 || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
}
