package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
	"unicode/utf8"
)

// Report is the report of a run, as --json writes it.
type Report struct {
	Machine Machine   `json:"machine"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	Pairs   int       `json:"pairs"`
	Quick   bool      `json:"quick"` // smaller sizes, so the figures are less reliable
	Subject string    `json:"subject"`
	Results []Result  `json:"results"`
}

// Machine is the machine of a run.
type Machine struct {
	Processor  string `json:"processor"`
	CPUs       int    `json:"cpus"`
	Kernel     string `json:"kernel"`
	FileSystem string `json:"file_system"` // of the data directories
	Go         string `json:"go"`          // of this program
}

func machine(dir string) Machine {
	return Machine{processor(), runtime.NumCPU(), kernel(), fileSystem(dir), runtime.Version()}
}

func (r Report) writeJSON(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// missed returns the number of scenarios that miss their limit.
func (r Report) missed() int {
	n := 0
	for _, res := range r.Results {
		if !res.OK {
			n++
		}
	}
	return n
}

// writeTable writes the report as a Markdown table.
func (r Report) writeTable(w io.Writer) error {
	m := r.Machine
	_, err := fmt.Fprintf(w, "%s, %d CPUs, %s, %s, %s; %s, %d pairs, %.0f s in all\n\n",
		m.Processor, m.CPUs, m.Kernel, m.FileSystem, m.Go, r.Began.Format(time.DateOnly), r.Pairs, r.Seconds)
	if err != nil {
		return err
	}
	rows := [][]string{{
		"scenario", "wall", "rate", "p50", "p99", "CPU, base", "CPU, " + r.Subject, "ratio [quartiles]", "at most", "", "peak memory",
	}}
	for _, res := range r.Results {
		rows = append(rows, res.row())
	}
	_, err = io.WriteString(w, markdownTable(rows))
	return err
}

// row returns the cells of the result's row. Of the base it contains only the CPU time, the time
// and the memory.
func (r Result) row() []string {
	s := r.Subject
	row := []string{
		r.Title, withBase(r.Base, func(s Side) string { return formatNanoseconds(s.Wall.Median) }, s), rate(s, r.Unit),
		formatNanoseconds(s.P50), formatNanoseconds(s.P99), "", formatNanoseconds(s.CPU.Median), "", "", "",
		withBase(r.Base, func(s Side) string { return formatMiB(s.PeakMemory) }, s),
	}
	if r.Base != nil {
		row[5] = formatNanoseconds(r.Base.CPU.Median)
		row[7] = fmt.Sprintf("%.2f [%.2f–%.2f]", r.Ratio.Median, r.Ratio.Q1, r.Ratio.Q3)
	}
	if r.Limit != nil {
		row[8] = r.Limit.String()
		row[9] = "ok"
		if !r.OK {
			row[9] = "OVER"
		}
	}
	return row
}

// withBase returns a figure of the base, if there is one, and of the subject.
func withBase(base *Side, figure func(Side) string, subject Side) string {
	if base == nil {
		return figure(subject)
	}
	return figure(*base) + " / " + figure(subject)
}

func (l Limit) String() string {
	switch l.Kind {
	case limitMemory:
		return formatMiB(int64(l.Max))
	case limitTime, limitCPU:
		return formatNanoseconds(l.Max)
	}
	return fmt.Sprintf("%.2f", l.Max)
}

func rate(s Side, unit string) string {
	if s.BytesRate > 0 {
		return fmt.Sprintf("%.0f MiB/s", s.BytesRate/(1<<20))
	}
	return fmt.Sprintf("%.0f %s/s", s.Rate, unit)
}

func formatMiB(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

// formatNanoseconds returns ns with a suitable unit, and two or more significant digits.
func formatNanoseconds(ns float64) string {
	switch {
	case ns == 0:
		return "–"
	case ns < 1e4:
		return fmt.Sprintf("%.1f µs", ns/1e3)
	case ns < 1e7:
		return fmt.Sprintf("%.0f µs", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.0f ms", ns/1e6)
	}
	return fmt.Sprintf("%.2f s", ns/1e9)
}

// markdownTable returns a table with aligned columns. The first row is its head.
func markdownTable(rows [][]string) string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell), 3)
		}
	}
	var out strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(&out, "| %s%s ", cell, strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)))
		}
		out.WriteString("|\n")
	}
	line(rows[0])
	rule := make([]string, len(width))
	for i, w := range width {
		rule[i] = strings.Repeat("-", w)
	}
	line(rule)
	for _, row := range rows[1:] {
		line(row)
	}
	return out.String()
}

// summary returns the figure in a few words.
func (r Result) summary() string {
	row := r.row()
	text := row[6] + " of CPU for each " + r.Unit
	if r.Ratio != nil {
		text = row[7]
	}
	if r.Limit != nil {
		if r.Limit.Kind == limitMemory {
			text = row[10]
		}
		if r.Limit.Kind == limitTime {
			text = row[1]
		}
		text += ", at most " + row[8] + ": " + row[9]
	}
	return text
}
