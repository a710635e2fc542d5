package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// sink is a writer that can be read and written concurrently.
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

// setFail sets whether writes fail.
func (s *sink) setFail(fail bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// stalled is a writer that blocks until gate is closed.
type stalled struct {
	io.Writer
	gate chan struct{}
}

func (s stalled) Write(p []byte) (int, error) {
	<-s.gate
	return s.Writer.Write(p)
}

// droppedBy returns the value of the log's metric of dropped lines.
func droppedBy(lines *logQueue) int { return int(testutil.ToFloat64(lines.dropped)) }

// startLog opens a log of level info.
func startLog(t *testing.T, format string, to io.Writer) (*slog.Logger, *logQueue) {
	t.Helper()
	log, lines, err := openLog(config.LogConfig{Format: format, Level: "info"}, to)
	if err != nil {
		t.Fatal(err)
	}
	return log, lines
}

func TestLogWaitsInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		log, lines := startLog(t, "json", &out)
		defer lines.close()
		log.Debug("too low")
		log.Info("kept", "n", 1)
		if synctest.Wait(); out.String() != "" {
			t.Fatalf("written at once: %q", out.String())
		}
		time.Sleep(flushInterval)
		synctest.Wait()
		var line struct {
			Msg string
			N   int
		}
		if err := json.Unmarshal([]byte(out.String()), &line); err != nil || line.Msg != "kept" || line.N != 1 {
			t.Errorf("got %q, %v", out.String(), err)
		}
	})
}

func TestWarningsAreWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		log, lines := startLog(t, "text", &out)
		defer lines.close()
		began := time.Now()
		log.Info("first")
		log.With("a", 1).WithGroup("g").Warn("second", "b", 2)
		synctest.Wait()
		if got := out.String(); !strings.Contains(got, "first") || !strings.Contains(got, "a=1 g.b=2") || time.Since(began) != 0 {
			t.Errorf("after %v: %q", time.Since(began), got)
		}
	})
}

func TestLogKeepsWholeLinesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		_, lines := startLog(t, "json", &out)
		line := strings.Repeat("x", 1000)
		want := ""
		for i := range 300 { // several times flushBytes
			l := fmt.Sprintf("%d %s\n", i, line)
			want += l
			lines.Write([]byte(l))
		}
		long := strings.Repeat("y", 2*flushBytes) + "\n"
		lines.Write([]byte(long))
		lines.Write([]byte("last\n"))
		began := time.Now()
		lines.close()
		if out.String() != want+long+"last\n" || time.Since(began) != 0 {
			t.Errorf("after %v %d bytes came out, not the %d that went in, or in another order", time.Since(began), len(out.String()), len(want)+len(long)+5)
		}
	})
}

// TestManyLinesAreFewWrites: lines between two ticks are written in one call, or sooner if there
// are flushBytes.
func TestManyLinesAreFewWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &counting{}
		_, lines := startLog(t, "json", out)
		defer lines.close()
		const n = 100
		line := bytes.Repeat([]byte("x"), flushBytes/n/2)
		for range n {
			lines.Write(line)
		}
		time.Sleep(flushInterval)
		if synctest.Wait(); out.writes != 1 {
			t.Errorf("%d writes for %d short lines", out.writes, n)
		}
		for range 2*n + 1 {
			lines.Write(line)
		}
		if synctest.Wait(); out.writes != 2 {
			t.Errorf("%d writes when there is enough", out.writes)
		}
	})
}

type counting struct{ writes int }

func (c *counting) Write(p []byte) (int, error) {
	c.writes++
	return len(p), nil
}

func TestLogOutlivesAFailedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &sink{fail: true}
		_, lines := startLog(t, "text", out)
		defer lines.close()
		lines.Write([]byte("lost\n"))
		lines.Write([]byte("lost too\n"))
		time.Sleep(flushInterval)
		if synctest.Wait(); droppedBy(lines) != 2 {
			t.Errorf("%d lines are counted", droppedBy(lines))
		}
		out.setFail(false)
		lines.Write([]byte("there again\n"))
		time.Sleep(flushInterval)
		synctest.Wait()
		gap, rest, _ := strings.Cut(out.String(), "\n")
		if !strings.Contains(gap, "level=WARN") || !strings.HasSuffix(gap, " lines=2") || rest != "there again\n" || droppedBy(lines) != 2 {
			t.Errorf("got %q", out.String())
		}
	})
}

// halves is a writer that writes half of its input and then fails, while fail is set.
type halves struct{ sink }

func (h *halves) Write(p []byte) (int, error) {
	if h.fail {
		h.buf.Write(p[:len(p)/2])
		return len(p) / 2, errors.New("full")
	}
	return h.sink.Write(p)
}

func TestTornLineIsEnded(t *testing.T) {
	out := &halves{sink{fail: true}}
	w := lineWriter{to: out}
	if lost, err := w.write([]byte("first\nsecond line\nthird\n")); lost != 2 || err == nil {
		t.Errorf("%d lines are lost, %v", lost, err)
	}
	out.fail = false
	if lost, err := w.write([]byte("fourth\n")); lost != 0 || err != nil {
		t.Errorf("%d lines are lost, %v", lost, err)
	}
	if got := out.String(); got != "first\nsecond\nfourth\n" {
		t.Errorf("got %q", got)
	}
}

// TestD4LogIsBounded: if nothing reads the log, the queue fills up to its limit, and logging does
// not block. When reading continues, one line has the number of all missing lines.
func TestD4LogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		gate := make(chan struct{})
		log, lines := startLog(t, "json", stalled{&out, gate})
		began := time.Now()
		const n = 10_000
		pad := strings.Repeat("x", 500)
		for i := range n {
			log.Info("line", "n", i, "pad", pad)
			if i%100 == 0 {
				log.Warn("at once")
				synctest.Wait()
			}
		}
		lines.Write([]byte("{}\n")) // short enough for the queue, but it would split the gap in two
		if time.Since(began) != 0 || out.String() != "" {
			t.Errorf("logging took %v, and %d bytes were written", time.Since(began), len(out.String()))
		}
		if kept := len(lines.waiting) + lines.writing; kept > logQueueBytes || kept < logQueueBytes-1000 {
			t.Errorf("%d bytes are kept", kept)
		}
		close(gate)
		synctest.Wait()
		log.Info("goes on")
		time.Sleep(3 * flushInterval)
		lines.close()
		kept, gaps := 0, 0
		var last string
		for text := range strings.Lines(out.String()) {
			var line struct {
				Msg   string
				Lines int
			}
			if err := json.Unmarshal([]byte(text), &line); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			switch last = line.Msg; {
			case line.Lines > 0:
				gaps++
				if want := n + n/100 + 1 - kept; line.Lines != want || droppedBy(lines) != want {
					t.Errorf("%d lines are missing, %d are told and %d counted", want, line.Lines, droppedBy(lines))
				}
			case gaps == 0:
				kept++
			}
		}
		if gaps != 1 || last != "goes on" || strings.Contains(out.String(), "\n{}\n") {
			t.Errorf("%d gaps, the last line is %q, or a line is in the middle of a gap", gaps, last)
		}
		if kept := cap(lines.waiting) + cap(lines.spare); kept > 8*flushBytes {
			t.Errorf("%d bytes of memory are kept for good", kept)
		}
	})
}

// TestLogTellsOfItsLastGap: lines that are missing at the end are reported too.
func TestLogTellsOfItsLastGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		lines := newLogQueue(&out, func(lines int) []byte { return fmt.Appendf(nil, "%d missing\n", lines) })
		line := []byte(strings.Repeat("x", logQueueBytes/100-1) + "\n")
		for range 150 {
			lines.Write(line)
		}
		<-lines.flushNow
		go lines.run()
		lines.close()
		if got := out.String(); strings.Count(got, "\n") != 101 || !strings.HasSuffix(got, "\n50 missing\n") {
			t.Errorf("%d lines, of which the last is %q", strings.Count(got, "\n"), got[len(got)-20:])
		}
	})
}

// TestD4LogHasLastWords: closing waits for at most ExitTimeout if nothing reads the log.
func TestD4LogHasLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		gate := make(chan struct{})
		log, lines := startLog(t, "json", stalled{&out, gate})
		log.Warn("first")
		synctest.Wait()
		for range 5000 {
			log.Info(strings.Repeat("x", 500))
		}
		began := time.Now()
		if lines.close(); time.Since(began) != 500*time.Millisecond {
			t.Errorf("closing took %v", time.Since(began))
		}
		close(gate)
		lines.close()
		all := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if gap := fmt.Sprintf(`"lines":%d}`, 5002-len(all)); !strings.Contains(all[0], "first") || !strings.HasSuffix(all[len(all)-1], gap) {
			t.Errorf("%d lines, the last is %q, want %s", len(all), all[len(all)-1], gap)
		}
	})
}

func TestAutoFormatIsJSONWithoutTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	log, lines := startLog(t, "auto", f)
	log.Error("x")
	lines.close()
	got, err := os.ReadFile(f.Name())
	if err != nil || !json.Valid(got) {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestGuardLogsAPanic: a panic is logged before the process ends. It does not reach the runtime,
// which would block if nothing reads standard error.
func TestGuardLogsAPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		log, lines := startLog(t, "json", &out)
		crashed := false
		crash := func() { lines.close(); crashed = true }
		if err := crashOnPanic(log, crash, func() error { return os.ErrInvalid }); !errors.Is(err, os.ErrInvalid) || crashed {
			t.Errorf("got %v, crashed: %v", err, crashed)
		}
		_ = crashOnPanic(log, crash, func() error { panic("boom") })
		if got := out.String(); !crashed || !strings.Contains(got, `"value":"boom"`) || !strings.Contains(got, "TestGuardLogsAPanic") {
			t.Errorf("crashed: %v, got %q", crashed, got)
		}
	})
}

func BenchmarkLogLine(b *testing.B) {
	for _, parallel := range []bool{false, true} {
		b.Run(fmt.Sprintf("parallel=%v", parallel), func(b *testing.B) {
			f, err := os.Create(b.TempDir() + "/log")
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			log, lines, err := openLog(config.LogConfig{Format: "json", Level: "info"}, f)
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				lines.close()
				b.ReportMetric(testutil.ToFloat64(lines.dropped), "dropped")
			}()
			line := func() {
				log.LogAttrs(b.Context(), slog.LevelInfo, "request", slog.String("id", "0123456789abcdef"), slog.String("method", "GET"),
					slog.String("repository", "team/app"), slog.Int("status", 200), slog.Int64("bytes", 1234))
			}
			if parallel {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						line()
					}
				})
				return
			}
			for b.Loop() {
				line()
			}
		})
	}
}
