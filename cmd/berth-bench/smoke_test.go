package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain runs the test program as the floor if a test starts it so.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "floor" {
		main()
		return
	}
	os.Exit(m.Run())
}

// runBench runs the command and returns its table and its report.
func runBench(t *testing.T, args ...string) (string, Report) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("measures on Linux only")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	cmd := command()
	var out, progress strings.Builder
	cmd.SetOut(&out)
	cmd.SetErr(&progress)
	cmd.SetArgs(append(args, "--dir", dir, "--json", path, "--quick", "--pairs", "2"))
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, progress.String())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var report Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "berth-bench-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	return out.String(), report
}

func TestNoise(t *testing.T) {
	out, report := runBench(t, "--noise", "--run", "^(push-4|image-push|manifest-get-tag|tag-put)$")
	if len(report.Results) != 3 { // the floor has no tag-put
		t.Fatalf("%d results, want 3:\n%s", len(report.Results), out)
	}
	for _, r := range report.Results {
		checkSide(t, r.Name, *r.Base, 2)
		checkSide(t, r.Name, r.Subject, 2)
		if len(r.Ratios) != 2 || r.Ratio.Median <= 0 {
			t.Errorf("%s: ratios %v, median %v", r.Name, r.Ratios, r.Ratio.Median)
		}
		if !strings.Contains(out, r.Title) {
			t.Errorf("the table lacks %q:\n%s", r.Title, out)
		}
	}
}

// TestBerth runs a scenario of every kind on the berth of this module.
func TestBerth(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and fills a registry")
	}
	berth, err := buildBerth(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, report := runBench(t, "--berth", berth, "--tags", "400", "--repositories", "300",
		"--run", "^(pull-1|image-pull|token-get-tag|token-login|token-flood|oracle-user|catalog-few|tags-page|tag-delete|manifest-delete|catalog-page|memory-uploads|start)$")
	if len(report.Results) != 13 {
		t.Fatalf("%d results, want 13:\n%s", len(report.Results), out)
	}
	for _, r := range report.Results {
		switch r.Name {
		case "memory-uploads":
			checkSide(t, r.Name, r.Subject, 1)
		default:
			checkSide(t, r.Name, r.Subject, 2)
		}
		if r.Name != "oracle-user" && (r.Limit == nil || r.Figure <= 0) {
			t.Errorf("%s: no figure", r.Name)
		}
	}
}

func checkSide(t *testing.T, name string, s Side, batches int) {
	t.Helper()
	if len(s.CPUPerBatch) != batches || s.CPU.Median <= 0 || s.Wall.Median <= 0 || s.Rate <= 0 || s.P50 <= 0 || s.P99 < s.P50 || s.PeakMemory < 1<<20 {
		t.Errorf("%s: %s: %+v", name, s.Name, s)
	}
}

func TestURL(t *testing.T) {
	dir := t.TempDir()
	p := floorProgram(must(os.Executable()))
	s, err := p.start(t.Context(), filepath.Join(dir, "floor"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	}()
	if runtime.GOOS != "linux" {
		t.Skip("measures on Linux only")
	}
	b := &bench{
		floor: p, subject: program{name: "subject", url: s.base.String(), pid: s.pid},
		dir: dir, sizes: quickSizes(), progress: new(strings.Builder),
	}
	table, err := scenarios(b.sizes, newContent(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range table {
		switch sc.name {
		case "blob-get":
			r, err := b.run(t.Context(), sc)
			if err != nil {
				t.Fatal(err)
			}
			checkSide(t, sc.name, r.Subject, b.sizes.pairs)
		case "catalog-page", "start", "token-get-tag", "token-login", "token-flood", "oracle-user":
			if _, err := b.run(t.Context(), sc); !errors.Is(err, errSkip) {
				t.Errorf("%s: %v, want that it is left out", sc.name, err)
			}
		}
	}
}

func TestCPUTime(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("measures on Linux only")
	}
	before := must(cpuTime(os.Getpid()))
	for range 500 {
		digestOf(make([]byte, 1<<16))
	}
	if after := must(cpuTime(os.Getpid())); after <= before || after > time.Hour {
		t.Errorf("from %v to %v", before, after)
	}
	if _, err := cpuTime(1<<22 + 1); err == nil {
		t.Error("no error for a process that is not there")
	}
}

func TestScenarioNames(t *testing.T) {
	table, err := scenarios(fullSizes(), newContent(1))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, sc := range table {
		if !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(sc.name) || names[sc.name] || sc.title == "" || sc.unit == "" {
			t.Errorf("scenario %+v", sc)
		}
		names[sc.name] = true
		if sc.base != nil && (sc.base.cycles != sc.work.cycles || sc.base.ops != sc.work.ops) {
			t.Errorf("%s: its sides do not do as much", sc.name)
		}
	}
}

func TestStartOfFailingProgram(t *testing.T) {
	path, err := exec.LookPath("false")
	if err != nil {
		t.Skip("no program that fails")
	}
	p := floorProgram(path)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := p.start(ctx, filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "exited") {
		t.Errorf("error %v, want that it exited", err)
	}
}
