package server

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/berth-registry/berth/api"
)

// TestAuditFileFails: failed writes are logged once, until a write succeeds again.
func TestAuditFileFails(t *testing.T) {
	var out sink
	a := newAuditFile(filepath.Join(t.TempDir(), "audit.log"), slog.New(slog.NewTextHandler(&out, nil)))
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		a.out = lineWriter{to: &sink{fail: true}}
		for range 2 {
			a.writeLine([]byte("bad\n"))
		}
		if got := strings.Count(out.String(), "level=ERROR"); got != n {
			t.Errorf("%d errors in the log, want %d", got, n)
		}
		if got := testutil.ToFloat64(a.dropped); got != float64(2*n) {
			t.Errorf("%v lines are counted, want %d", got, 2*n)
		}
		a.out = lineWriter{to: a.file}
		a.writeLine([]byte("good\n"))
	}
	if err := a.file.Close(); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(a.path); err != nil || string(content) != "good\ngood\n" {
		t.Errorf("%q, %v", content, err)
	}
}

// hungAudit returns an auditFile whose writes block until gate is closed.
func hungAudit(t *testing.T, log io.Writer) (a *auditFile, gate chan struct{}) {
	t.Helper()
	a, gate = newAuditFile(filepath.Join(t.TempDir(), "audit.log"), slog.New(slog.NewTextHandler(log, nil))), make(chan struct{})
	if err := a.open(); err != nil {
		t.Fatal(err)
	}
	a.out = lineWriter{to: stalled{a.file, gate}}
	go a.run()
	return a, gate
}

// write queues a line with a message.
func (a *auditFile) write(t *testing.T, message string) {
	t.Helper()
	if err := a.Reserve(t.Context()); err != nil {
		t.Fatalf("%s: %v", message, err)
	}
	a.Write(slog.NewRecord(time.Now(), slog.LevelInfo, message, 0))
}

// messages returns the messages of the lines in a file.
func messages(t *testing.T, path string) (all []string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var entry struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		all = append(all, entry.Msg)
	}
	return all
}

// TestD4AuditHasSoMuchRoom: while the file takes no lines, auditLines lines can be queued. Reserve
// then waits for a second, or less if a slot gets free or its context ends.
func TestD4AuditHasSoMuchRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log sink
		a, gate := hungAudit(t, &log)
		began := time.Now()
		for i := range auditLines - 1 {
			a.write(t, fmt.Sprint(i))
		}
		if err := a.Reserve(t.Context()); err != nil || time.Since(began) != 0 {
			t.Fatalf("%v, after %v", err, time.Since(began))
		}
		if err := a.Reserve(t.Context()); err != api.ErrAuditFull || time.Since(began) != time.Second {
			t.Errorf("without room: %v, after %v", err, time.Since(began))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began = time.Now()
		if err := a.Reserve(ctx); err != context.DeadlineExceeded || time.Since(began) != time.Millisecond {
			t.Errorf("until the client leaves: %v, after %v", err, time.Since(began))
		}
		began = time.Now()
		time.AfterFunc(time.Millisecond, a.Release)
		if err := a.Reserve(t.Context()); err != nil || time.Since(began) != time.Millisecond {
			t.Errorf("until there is room: %v, after %v", err, time.Since(began))
		}
		a.Release()
		close(gate)
		synctest.Wait()
		for i := range auditLines {
			if err := a.Reserve(t.Context()); err != nil {
				t.Fatalf("line %d when the file goes on: %v", i, err)
			}
		}
		if err := a.close(); err != nil || log.String() != "" {
			t.Errorf("%v, log: %s", err, log.String())
		}
		if got := messages(t, a.path); len(got) != auditLines-1 || got[0] != "0" || got[len(got)-1] != fmt.Sprint(auditLines-2) {
			t.Errorf("%d lines in the file", len(got))
		}
	})
}

// TestD4AuditHasLastWords: closing waits for at most ExitTimeout for a file that takes no lines.
func TestD4AuditHasLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log sink
		a, gate := hungAudit(t, &log)
		for i := range 10 {
			a.write(t, fmt.Sprint(i))
		}
		began := time.Now()
		if err := a.close(); err != nil || time.Since(began) != 500*time.Millisecond {
			t.Errorf("%v, after %v", err, time.Since(began))
		}
		if got := log.String(); !strings.Contains(got, "level=ERROR") || !strings.Contains(got, " lines=10\n") {
			t.Errorf("log: %s", got)
		}
		close(gate)
	})
}

// TestAuditFileOpensLate: reopening waits for at most a second for a file that takes no lines.
// Lines that were queued before still go to the old file, later ones to the new one.
func TestAuditFileOpensLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log sink
		a, gate := hungAudit(t, &log)
		var first []string
		for i := range auditLines - 1 {
			first = append(first, fmt.Sprint(i))
			a.write(t, first[i])
		}
		old := a.path + ".1"
		if err := os.Rename(a.path, old); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for i := range 3 {
			if err := a.reopen(); err == nil || !strings.Contains(err.Error(), "audit.file") || time.Since(began) != time.Duration(i+1)*time.Second {
				t.Errorf("%v, after %v", err, time.Since(began))
			}
		}
		a.write(t, "after")
		close(gate)
		if err := a.reopen(); err != nil {
			t.Error(err)
		}
		if err := a.reopen(); err != nil {
			t.Error(err)
		}
		if err := a.close(); err != nil || log.String() != "" {
			t.Errorf("%v, log: %s", err, log.String())
		}
		if before, after := messages(t, old), messages(t, a.path); !slices.Equal(before, first) || !slices.Equal(after, []string{"after"}) {
			t.Errorf("%q in the old file, %q in the new", before, after)
		}
	})
}
