package conformance

import (
	"bufio"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// columns is the maximum width of a line of prose. A tab counts as 4.
const columns = 100

// TestColumns limits the width of comments and of Markdown, so that two pages fit side by side.
// Code, tables and links may be wider.
func TestColumns(t *testing.T) {
	err := filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != ".." && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || isModule(p)):
			return fs.SkipDir
		case strings.HasSuffix(p, ".go"):
			checkColumns(t, p, isComment)
		case strings.HasSuffix(p, ".md") && d.Name() != "configuration.md": // configuration.md is generated
			checkColumns(t, p, newProse())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkColumns reports the lines of a file that are prose and too wide.
func checkColumns(t *testing.T, file string, isProse func(line string) bool) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for number := 1; lines.Scan(); number++ {
		wide := strings.ReplaceAll(lines.Text(), "\t", "    ")
		if n := utf8.RuneCountInString(wide); isProse(lines.Text()) && n > columns {
			t.Errorf("%s:%d: %d columns, want at most %d", file, number, n, columns)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func isComment(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, "\t"), "// ") }

// newProse returns a function that is called with the lines of a page in order and reports whether
// a line is prose that can be wrapped.
func newProse() func(line string) bool {
	fenced := false
	fixed := regexp.MustCompile(`^(\||#|<|    |\[[^]]*\]: )`)
	return func(line string) bool {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		return !fenced && !fixed.MatchString(line) && strings.Contains(strings.TrimSpace(line), " ")
	}
}
