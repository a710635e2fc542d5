package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRowsCommand: a command on the database finds it by the same settings as serve, and prints a
// table or JSON.
func TestRowsCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	file := writeFile(t, "berth.yaml", "data: "+data+"\nhttp: {addr: '0.0.0.0:5000'}\n")
	for name, run := range map[string]func(args ...string) result{
		"flag":     func(args ...string) result { return berth(t, nil, append(args, "--data", data)...) },
		"variable": func(args ...string) result { return berth(t, []string{"BERTH_DATA=" + data}, args...) },
		"file":     func(args ...string) result { return berth(t, nil, append(args, "--config", file)...) },
		"database": func(args ...string) result {
			return berth(t, nil, append(args, "--data", filepath.Join(dir, "other"), "--database-url", "sqlite:"+filepath.Join(data, "berth.db"))...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			addUser(t, data, "user-"+name, "secret")
			if r := run("user", "list"); r.code != 0 || !strings.HasPrefix(r.stdout, "NAME ") || !strings.Contains(r.stdout, "\nuser-"+name+" ") {
				t.Errorf("%+v", r)
			}
			var users []struct{ Name string }
			r := run("user", "list", "--json")
			if err := json.Unmarshal([]byte(r.stdout), &users); err != nil || r.code != 0 {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(data, "berth.db")); err != nil {
		t.Error(err)
	}
	if r := berth(t, nil, "user", "list", "--storage-bucket", "mem://"); r.code != 1 || !strings.Contains(r.stderr, "in memory") {
		t.Errorf("in memory: %+v", r)
	}
}

// TestEmptyListIsNoNull: an empty list in JSON is [], not null.
func TestEmptyListIsNoNull(t *testing.T) {
	t.Parallel()
	data := newData(t)
	addUser(t, data, "alice", "secret")
	if r := berth(t, nil, "user", "remove", "alice", "--data", data); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	for _, kind := range []string{"user", "robot", "token"} {
		if r := berth(t, nil, kind, "list", "--json", "--data", data); r.code != 0 || strings.TrimSpace(r.stdout) != "[]" {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}

// TestCommandsWithoutARegistry: a command that needs what is in the database makes none, and says
// where it looked.
func TestCommandsWithoutARegistry(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"user list", "user passwd alice --password-stdin", "user groups alice a", "user remove alice", "user disable alice", "user enable alice",
		"robot list", "robot remove r", "token list", "token list --owner alice", "token revoke 1", "token create --owner alice --scope repository:**:pull",
		"key list", "key revoke x", "key certificate", "backup copy.db",
	} {
		data := newData(t)
		args := append(strings.Fields(command), "--data", data)
		r := berthReading(t, "secret\n", nil, args...)
		if want := "there is no registry in " + data + ": berth.db is missing"; r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v", command, r)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%s made %s", command, data)
		}
		// The same beside other files, with the database elsewhere.
		r = berthReading(t, "secret\n", nil, append(args, "--database-url", "sqlite:"+filepath.Join(data, "rows", "b.db"))...)
		if want := "there is no registry in " + filepath.Join(data, "rows") + ": b.db is missing"; r.code != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: %+v", command, r)
		}
	}
	for _, command := range []string{"auth can user:alice pull a", "auth explain user:alice"} {
		data := newData(t)
		r := berth(t, nil, append(strings.Fields(command), "--data", data)...)
		if r.code != 0 || r.stderr != "berth: note: there is no registry in "+data+" yet; groups are those of the policy file and of --group\n" {
			t.Errorf("%s: %+v", command, r)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%s made %s", command, data)
		}
	}
}

// TestCommandsNameTheDatabaseTheyMake: a command that adds to a registry makes one where there is
// none, and says so, once.
func TestCommandsNameTheDatabaseTheyMake(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"user add NAME --password-stdin", "robot create NAME --scope repository:**:pull", "key rotate",
	} {
		data := newData(t)
		want := "berth: made the database " + filepath.Join(data, "berth.db") + " of a new registry\n"
		for _, name := range []string{"one", "two"} {
			r := berthReading(t, "secret\n", nil, append(strings.Fields(strings.ReplaceAll(command, "NAME", name)), "--data", data)...)
			if r.code != 0 || strings.Contains(r.stderr, want) != (name == "one") || strings.Contains(r.stdout, want) {
				t.Errorf("%s, %s: %+v", command, name, r)
			}
		}
	}
}
