package config

import (
	"os"
	"path/filepath"
	"testing"
)

// startedAs sets the name by which the program was started, for one test.
func startedAs(t *testing.T, name string) {
	before := os.Args
	t.Cleanup(func() { os.Args = before })
	os.Args = []string{name}
}

// TestCommandLine: a shell parses the copied command into the same arguments.
func TestCommandLine(t *testing.T) {
	startedAs(t, "berth")
	c := &Config{Data: "/data", Database: DatabaseConfig{URL: "sqlite:/data/berth.db"}}
	if got, want := c.CommandLine("user add NAME"), "berth user add NAME --data /data"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	startedAs(t, filepath.Join("my bin", "berth"))
	path, err := filepath.Abs(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	c = &Config{Data: "/my data", Database: DatabaseConfig{URL: "sqlite:/it's.db"}}
	if got, want := c.CommandLine("user list"), "'"+path+`' user list --data '/my data' --database-url 'sqlite:/it'\''s.db'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	startedAs(t, "berth")
	c = &Config{Data: "/data", Database: DatabaseConfig{URL: "postgres://u:hidden@h/x", PasswordFile: "/w", Pooler: PoolerTransaction}}
	if got, want := c.CommandLine("user list"), "berth user list --data /data --database-url 'postgres://u:********@h/x' --database-password-file /w --database-pooler transaction"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
