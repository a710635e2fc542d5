package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
)

// sink is a writer that may be read while it is written to.
type sink struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	fail bool
}

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail {
		return 0, errors.New("nobody reads")
	}
	return s.buf.Write(p)
}

func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

func TestLogWaitsInTheBuffer(t *testing.T) {
	var out sink
	buf := newLogBuf(&out)
	log, err := newLogger(LogConfig{Format: "json", Level: "info"}, &out, buf)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("too low")
	log.Info("kept", "n", 1)
	if got := out.String(); got != "" {
		t.Fatalf("written at once: %q", got)
	}
	buf.Flush()
	var line struct {
		Msg string
		N   int
	}
	if err := json.Unmarshal([]byte(out.String()), &line); err != nil || line.Msg != "kept" || line.N != 1 {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestWarningsAreWrittenAtOnce(t *testing.T) {
	var out sink
	buf := newLogBuf(&out)
	log, err := newLogger(LogConfig{Format: "text", Level: "info"}, &out, buf)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("first")
	log.With("a", 1).WithGroup("g").Warn("second", "b", 2)
	got := out.String()
	if !strings.Contains(got, "first") || !strings.Contains(got, "a=1 g.b=2") {
		t.Errorf("got %q", got)
	}
}

func TestLogBufKeepsWholeLinesInOrder(t *testing.T) {
	var out sink
	buf := newLogBuf(&out)
	stop := buf.flushing()
	line := strings.Repeat("x", 1000)
	want := ""
	for i := range 300 { // several buffers full
		l := fmt.Sprintf("%d %s\n", i, line)
		want += l
		buf.Write([]byte(l))
	}
	long := strings.Repeat("y", 2*logBuffer) + "\n"
	buf.Write([]byte(long))
	buf.Write([]byte("last\n"))
	stop()
	if out.String() != want+long+"last\n" {
		t.Errorf("%d bytes came out, not the %d that went in, or in another order", len(out.String()), len(want)+len(long)+5)
	}
}

func TestLogBufIsFlushedRegularly(t *testing.T) {
	var out sink
	buf := newLogBuf(&out)
	defer buf.flushing()()
	buf.Write([]byte("line\n"))
	for out.String() == "" { // the test's own limit ends it
		buf.Write(nil)
	}
}

func TestLogOutlivesAFailedWrite(t *testing.T) {
	out := sink{fail: true}
	buf := newLogBuf(&out)
	buf.Write([]byte("lost\n"))
	buf.Flush()
	out.mu.Lock()
	out.fail = false
	out.mu.Unlock()
	buf.Write([]byte("there again\n"))
	buf.Flush()
	if got := out.String(); got != "there again\n" {
		t.Errorf("got %q", got)
	}
}

func TestAutoFormatIsJSONWithoutTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := newLogBuf(f)
	log, err := newLogger(LogConfig{Format: "auto", Level: "info"}, f, buf)
	if err != nil {
		t.Fatal(err)
	}
	log.Error("x")
	got, err := os.ReadFile(f.Name())
	if err != nil || !json.Valid(got) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestGuardLogsAPanic(t *testing.T) {
	var out sink
	buf := newLogBuf(&out)
	log := slog.New(urgent{slog.NewJSONHandler(buf, nil), buf})
	func() {
		defer func() {
			if r := recover(); r != "boom" {
				t.Errorf("the panic became %v", r)
			}
		}()
		_ = guard(log, func() error { panic("boom") })
	}()
	if got := out.String(); !strings.Contains(got, `"value":"boom"`) || !strings.Contains(got, "TestGuardLogsAPanic") {
		t.Errorf("got %q", got)
	}
	if err := guard(log, func() error { return os.ErrInvalid }); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkLogLine(b *testing.B) {
	f, err := os.Create(b.TempDir() + "/log")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := newLogBuf(f)
	log, err := newLogger(LogConfig{Format: "json", Level: "info"}, f, buf)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		log.LogAttrs(b.Context(), slog.LevelInfo, "request", slog.String("id", "0123456789abcdef"), slog.String("method", "GET"),
			slog.String("repository", "team/app"), slog.Int("status", 200), slog.Int64("bytes", 1234))
	}
}
