package config

import "testing"

// TestCommandLine: a shell parses the copied command into the same arguments.
func TestCommandLine(t *testing.T) {
	c := &Config{Data: "/data", Database: DatabaseConfig{URL: "sqlite:/data/berth.db"}}
	if got, want := c.CommandLine("user add NAME"), "berth user add NAME --data /data"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c = &Config{Data: "/my data", Database: DatabaseConfig{URL: "sqlite:/it's.db"}}
	if got, want := c.CommandLine("user list"), `berth user list --data '/my data' --database-url 'sqlite:/it'\''s.db'`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
