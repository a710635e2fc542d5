package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/berth-registry/berth/cmd/berth/config"
)

var update = flag.Bool("update", false, "write the table of settings into docs/configuration.md")

const (
	docsFile   = "../../docs/configuration.md"
	tableBegin = "<!-- settings: written by go test ./cmd/berth -update -->\n"
	tableEnd   = "<!-- end of settings -->\n"
)

// TestConfigurationPage: the page has a row for each setting, with its default, variable, flag and
// meaning.
func TestConfigurationPage(t *testing.T) {
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), tableBegin)
	got, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no table of settings", docsFile)
	}
	want := settingsTable()
	if *update {
		if err := os.WriteFile(docsFile, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s is not what the settings are; run go test ./cmd/berth -update", docsFile)
	}
}

func settingsTable() string {
	var b strings.Builder
	b.WriteString("| key | default | variable | flag | meaning |\n|---|---|---|---|---|\n")
	for _, s := range config.Settings() {
		def := "unset"
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | `--%s` | %s |\n", s.Key, def, s.Env, s.Flag, s.Doc)
	}
	return b.String()
}
