package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/term"
)

const (
	logBuffer     = 64 << 10
	flushInterval = 200 * time.Millisecond
)

// logBuf collects log lines, because a system call for each would cost as much as a small request. Lines are written when
// the buffer is full, by Flush, and by the goroutine of flushing. Writers and flushers may be concurrent.
type logBuf struct {
	mu   sync.Mutex
	to   io.Writer
	data []byte
}

func newLogBuf(to io.Writer) *logBuf {
	return &logBuf{to: to, data: make([]byte, 0, logBuffer)}
}

// Write takes one whole line. It never fails: a log that cannot be written must not stop the registry.
func (b *logBuf) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.data)+len(line) > cap(b.data) {
		b.flush()
	}
	if len(line) > cap(b.data) {
		b.to.Write(line)
		return len(line), nil
	}
	b.data = append(b.data, line...)
	return len(line), nil
}

// Flush writes what was collected.
func (b *logBuf) Flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flush()
}

func (b *logBuf) flush() {
	if len(b.data) > 0 {
		b.to.Write(b.data)
		b.data = b.data[:0]
	}
}

// flushing starts the goroutine that flushes regularly. The function that it returns ends it, after a last flush.
func (b *logBuf) flushing() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(flushInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.Flush()
			case <-quit:
				b.Flush()
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

// urgent is a handler that does not leave warnings and errors in the buffer.
type urgent struct {
	slog.Handler
	buf *logBuf
}

func (u urgent) Handle(ctx context.Context, r slog.Record) error {
	err := u.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		u.buf.Flush()
	}
	return err
}

func (u urgent) WithAttrs(attrs []slog.Attr) slog.Handler {
	return urgent{u.Handler.WithAttrs(attrs), u.buf}
}

func (u urgent) WithGroup(name string) slog.Handler {
	return urgent{u.Handler.WithGroup(name), u.buf}
}

// newLogger makes the program's logger as the configuration wants it.
func newLogger(c LogConfig, to io.Writer, buf *logBuf) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, err
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" || c.Format == "auto" && isTerminal(to) {
		return slog.New(urgent{slog.NewTextHandler(buf, options), buf}), nil
	}
	return slog.New(urgent{slog.NewJSONHandler(buf, options), buf}), nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// guard runs f, and logs a panic before it ends the program: what is still in the buffer would be lost otherwise.
func guard(log *slog.Logger, f func() error) error {
	defer func() {
		if r := recover(); r != nil {
			log.Error("panic", "value", r, "stack", string(debug.Stack()))
			panic(r)
		}
	}()
	return f()
}
