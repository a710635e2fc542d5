package policy

import (
	"os"
	"slices"
	"strings"
	"testing"
)

const docsFile = "../../docs/auth.md"

// otherYAML are the second words of the info strings of YAML code blocks that are not policies.
var otherYAML = []string{"config", "workflow", "distribution"}

// TestDocsPolicies checks that the policies on the documentation's page about authentication load
// and pass their own tests. Every YAML code block must state its kind, so that none is skipped by
// mistake.
func TestDocsPolicies(t *testing.T) {
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	policies := 0
	for _, f := range fences(string(data)) {
		kind, ok := strings.CutPrefix(f.info, "yaml")
		kind = strings.TrimSpace(kind)
		switch {
		case !ok || slices.Contains(otherYAML, kind):
			continue
		case kind != "policy":
			t.Errorf("%s:%d: the fence says %q, expected yaml and one of policy, %s", docsFile, f.line, f.info, strings.Join(otherYAML, ", "))
			continue
		}
		policies++
		// Leading blank lines make the line numbers of errors those of the page.
		text := strings.Repeat("\n", f.line) + f.text
		if _, err := Parse(docsFile, []byte(text)); err != nil {
			t.Error(err)
		}
		if !strings.Contains(f.text, "\ntests:\n") {
			t.Errorf("%s:%d: a policy without tests", docsFile, f.line)
		}
	}
	if policies < 4 {
		t.Errorf("%s has %d policies, expected one for a team, a robot, GitHub and GitLab each", docsFile, policies)
	}
}

// TestDocsPoliciesTogether checks that the policies for a team, a robot, GitHub and GitLab from the
// first half of the page can be copied into one file, in which each decides as it does alone.
func TestDocsPoliciesTogether(t *testing.T) {
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	setups, _, ok := strings.Cut(string(data), "\n# Reference\n")
	if !ok {
		t.Fatalf("%s has no reference", docsFile)
	}
	sections := make(map[string]string)
	for _, f := range fences(setups) {
		if f.info != "yaml policy" {
			continue
		}
		section := ""
		for line := range strings.Lines(f.text) {
			if line[0] != ' ' && line != "\n" {
				section = line
				continue
			}
			sections[section] += line
		}
	}
	text := ""
	for section, lines := range sections {
		text += section + lines
	}
	if _, err := Parse("together.yaml", []byte(text)); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
}

// fence is a fenced code block of a page.
type fence struct {
	info string // the info string, after the opening backquotes
	line int    // of the opening backquotes, from 1
	text string
}

func fences(page string) []fence {
	var list []fence
	open := false
	for i, line := range strings.SplitAfter(page, "\n") {
		info, edge := strings.CutPrefix(line, "```")
		switch {
		case edge && open:
			open = false
		case edge:
			open = true
			list = append(list, fence{info: strings.TrimSpace(info), line: i + 1})
		case open:
			list[len(list)-1].text += line
		}
	}
	return list
}
