package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRowsCommand: a command on the database finds it by the same settings as serve, creates it if
// there is none, and prints a table or JSON.
func TestRowsCommand(t *testing.T) {
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
	data := newData(t)
	for _, kind := range []string{"user", "robot", "token"} {
		if r := berth(t, nil, kind, "list", "--json", "--data", data); r.code != 0 || strings.TrimSpace(r.stdout) != "[]" {
			t.Errorf("%s: %+v", kind, r)
		}
	}
}
