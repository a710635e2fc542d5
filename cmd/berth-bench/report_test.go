package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func sampleOf(cpu, wall time.Duration, units int) sample {
	return sample{cpu: cpu, wall: wall, units: units, latencies: []time.Duration{wall}}
}

func tallyOf(name string, peak int64, cpus ...time.Duration) tally {
	t := tally{name: name}
	for _, cpu := range cpus {
		t.add(sampleOf(cpu, time.Second, 10), peak)
	}
	return t
}

func TestCompareTakesTheMedianOfThePairs(t *testing.T) {
	// The ratios of the pairs are 2, 3 and 1. The ratio of the medians would be 150/100.
	floor := tallyOf("floor", 1<<20, 100*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond)
	berth := tallyOf("berth", 2<<20, 200*time.Millisecond, 150*time.Millisecond, 200*time.Millisecond)
	tests := []struct {
		max float64
		ok  bool
	}{{1.99, false}, {2, true}, {2.5, true}}
	for _, tt := range tests {
		r := pairResult(scenario{limit: ratioLimit(tt.max)}, floor, berth)
		if r.Ratio.Median != 2 || r.Ratio.Q1 != 1.5 || r.Ratio.Q3 != 2.5 {
			t.Errorf("ratio %+v, want 2 between 1.5 and 2.5", *r.Ratio)
		}
		if r.OK != tt.ok || r.Figure != 2 {
			t.Errorf("at most %v: ok %v with figure %v, want %v with 2", tt.max, r.OK, r.Figure, tt.ok)
		}
	}
	r := pairResult(scenario{}, floor, berth)
	if !r.OK {
		t.Error("without a limit: not ok")
	}
	if r.Subject.CPU.Median != float64(20*time.Millisecond) {
		t.Errorf("CPU per unit %v, want 20 ms", time.Duration(r.Subject.CPU.Median))
	}
	if r.Subject.Rate != 10 {
		t.Errorf("rate %v, want 10 a second", r.Subject.Rate)
	}
}

func TestLimitsOfMemoryAndTime(t *testing.T) {
	tests := []struct {
		name  string
		limit Limit
		ok    bool
	}{
		{"the most of all runs is over", Limit{limitMemory, 127 << 20}, false},
		{"the most of all runs is not over", Limit{limitMemory, 128 << 20}, true},
		{"slower", Limit{limitTime, float64(time.Second) - 1}, false},
		{"as quick", Limit{limitTime, float64(time.Second)}, true},
		{"a ratio without a base", Limit{limitRatio, 100}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			subject := tallyOf("berth", 128<<20, time.Millisecond)
			subject.add(sampleOf(time.Millisecond, time.Second, 1), 100<<20)
			if r := singleResult(scenario{limit: &tt.limit}, subject); r.OK != tt.ok {
				t.Errorf("ok %v with figure %v of %v", r.OK, r.Figure, tt.limit.Max)
			}
		})
	}
}

func TestTable(t *testing.T) {
	floor := tallyOf("floor", 10<<20, 100*time.Microsecond)
	berth := tallyOf("berth", 20<<20, 250*time.Microsecond)
	report := Report{
		Machine: Machine{"a processor", 2, "Linux", "ext4", "go1"}, Subject: "berth", Pairs: 1,
		Results: []Result{
			pairResult(scenario{title: "quick", unit: "request", limit: ratioLimit(2)}, floor, berth),
			singleResult(scenario{title: "small", unit: "upload", limit: &Limit{limitMemory, 128 << 20}}, berth),
		},
	}
	var out strings.Builder
	if err := report.writeTable(&out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines, want head, blank, two of the table's head and two rows:\n%s", len(lines), out.String())
	}
	for _, want := range []string{"quick", "| 10 µs ", "| 25 µs ", "2.50 [2.50–2.50]", "OVER", "10 MiB / 20 MiB", "1.00 s / 1.00 s", "10 request/s"} {
		if !strings.Contains(lines[4], want) {
			t.Errorf("row lacks %q: %s", want, lines[4])
		}
	}
	for _, want := range []string{"small", "128 MiB", " ok ", "20 MiB"} {
		if !strings.Contains(lines[5], want) {
			t.Errorf("row lacks %q: %s", want, lines[5])
		}
	}
	columns := strings.Count(lines[2], "|")
	for _, line := range lines[2:] {
		if strings.Count(line, "|") != columns {
			t.Errorf("not a table of %d columns: %s", columns-1, line)
		}
	}
	if report.missed() != 1 {
		t.Errorf("%d over, want 1", report.missed())
	}
}

func TestJSON(t *testing.T) {
	floor, berth := tallyOf("floor", 1, time.Millisecond), tallyOf("berth", 2, 2*time.Millisecond)
	path := filepath.Join(t.TempDir(), "report.json")
	want := Report{Pairs: 1, Subject: "berth", Results: []Result{pairResult(scenario{name: "n", limit: ratioLimit(3)}, floor, berth)}}
	if err := want.writeJSON(path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got Report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Results) != 1 || got.Results[0].Ratio.Median != 2 || !got.Results[0].OK || got.Results[0].Subject.PeakMemory != 2 {
		t.Errorf("read back: %s", text)
	}
}

func TestNanoseconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       "–",
		1234:                    "1.2 µs",
		340 * time.Microsecond:  "340 µs",
		5150 * time.Microsecond: "5150 µs",
		32 * time.Millisecond:   "32 ms",
		1260 * time.Millisecond: "1.26 s",
	} {
		if got := formatNanoseconds(float64(d)); got != want {
			t.Errorf("%d ns: %q, want %q", d, got, want)
		}
	}
}
