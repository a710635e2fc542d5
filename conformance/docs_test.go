package conformance

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const securityPage = "../docs/security.md"

// attacks are the numbers of the attacks in docs/security.md. Tests of an attack have its number in
// their names.
var attacks = []string{
	"J1", "J2", "J3", "J4", "J5", "J6", "S1", "S2", "S3", "P1", "P2", "P3", "B1", "B2", "B3", "B4", "B5", "C1", "C2", "U1", "U2",
	"A1", "A2", "A3", "A4", "A5", "A6", "H1", "H2", "H3", "X2", "X3", "L1", "N1", "N2",
	"D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "I1", "I2", "R1", "R2", "R3", "R4", "R5", "R6",
}

var (
	attackRow = regexp.MustCompile(`^\| ([A-Z]\d) \|.*\|(.*)\|$`)
	testName  = regexp.MustCompile("`([a-z/]+)\\.(Test\\w+)`")
	numbered  = regexp.MustCompile(`^Test([A-Z]\d)(?:[A-Z].*)?$`)
)

// TestSecurityPage: the table of attacks has each number once and names only existing tests, with
// at least one for each number.
func TestSecurityPage(t *testing.T) {
	tests := testFunctions(t)
	page, err := os.ReadFile(securityPage)
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.Lines(string(page)) {
		row := attackRow.FindStringSubmatch(strings.TrimSpace(line))
		if row == nil {
			continue
		}
		number := row[1]
		rows = append(rows, number)
		names := testName.FindAllStringSubmatch(row[2], -1)
		if len(names) == 0 {
			t.Errorf("%s: the row names no test", number)
		}
		for _, name := range names {
			if dir, function := name[1], name[2]; !slices.Contains(tests[function], dir) {
				t.Errorf("%s: there is no %s in %s", number, function, dir)
			}
		}
	}
	if !slices.Equal(rows, attacks) {
		t.Errorf("the rows are %v, expected %v", rows, attacks)
	}
	for _, number := range attacks {
		if !hasTest(tests, number) {
			t.Errorf("no test bears the number %s", number)
		}
	}
}

// TestDependenciesPage: the page has each module that go.mod requires directly.
func TestDependenciesPage(t *testing.T) {
	page, err := os.ReadFile("../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	direct := 0
	for line := range strings.Lines(string(mod)) {
		fields := strings.Fields(line)
		if len(fields) != 2 || !strings.HasPrefix(line, "\t") { // indirect requirements have a third field
			continue
		}
		direct++
		// The modules of koanf have one row together, and so do those of an SDK.
		if name := regexp.MustCompile(`^(github.com/knadh/koanf|github.com/aws/aws-sdk-go-v2|github.com/Azure/azure-sdk-for-go/sdk)/.*`).ReplaceAllString(fields[0], "$1"); !strings.Contains(string(page), "`"+name) {
			t.Errorf("the page does not name %s", fields[0])
		}
	}
	if direct < 10 {
		t.Errorf("go.mod requires %d modules: is it read rightly?", direct)
	}
}

// hasTest reports whether a test has an attack's number in its name.
func hasTest(tests map[string][]string, number string) bool {
	for function := range tests {
		if m := numbered.FindStringSubmatch(function); m != nil && m[1] == number {
			return true
		}
	}
	return false
}

// testFunctions returns the directories that have a test function, by its name.
func testFunctions(t *testing.T) map[string][]string {
	found := make(map[string][]string)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".."):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
		for _, decl := range file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Test") {
				found[f.Name.Name] = append(found[f.Name.Name], dir)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
