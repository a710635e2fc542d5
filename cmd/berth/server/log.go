package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/term"

	"github.com/berth-registry/berth/cmd/berth/config"
)

// flushingHandler is a handler that flushes the queue after warnings and errors.
type flushingHandler struct {
	slog.Handler
	lines *logQueue
}

func (u flushingHandler) Handle(ctx context.Context, r slog.Record) error {
	err := u.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		u.lines.flushSoon()
	}
	return err
}

func (u flushingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return flushingHandler{u.Handler.WithAttrs(attrs), u.lines}
}

func (u flushingHandler) WithGroup(name string) slog.Handler {
	return flushingHandler{u.Handler.WithGroup(name), u.lines}
}

// openLog makes the configured logger and starts the queue of its lines. The caller closes the
// queue.
func openLog(c config.LogConfig, to io.Writer) (*slog.Logger, *logQueue, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, nil, err
	}
	json := logsJSON(c, to)
	handler := func(w io.Writer) slog.Handler {
		if !json {
			return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
		}
		return newJSONHandler(w, level)
	}
	lines := newLogQueue(to, func(missing int) []byte {
		var line bytes.Buffer // accepts every write
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "the log lacks lines here: it was not read in time, or could not be written", 0)
		r.AddAttrs(slog.Int("lines", missing))
		_ = handler(&line).Handle(context.Background(), r)
		return line.Bytes()
	})
	go lines.run()
	return slog.New(flushingHandler{handler(lines), lines}), lines, nil
}

// logsJSON reports whether the log that is written to a file has lines of JSON. A format that is
// not known, of a configuration that is refused, is taken for auto.
func logsJSON(c config.LogConfig, to io.Writer) bool {
	return c.Format == "json" || c.Format != "text" && !isTerminal(to)
}

// ErrorLine returns the line that reports the error of Serve, or of the configuration that it
// needs: a line of JSON if the log has those, else text.
func ErrorLine(c config.LogConfig, to io.Writer, err error) string {
	if !logsJSON(c, to) {
		return "berth: " + err.Error() + "\n"
	}
	var line bytes.Buffer // accepts every write
	slog.New(newJSONHandler(&line, slog.LevelError)).Error("the registry does not serve", "error", err)
	return line.String()
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// crashOnPanic calls f. If f panics, it logs the panic and calls crash, which ends the process. The
// runtime must not handle the panic: it stops all goroutines and writes to standard error itself,
// so the process would hang if nothing reads that.
func crashOnPanic(log *slog.Logger, crash func(), f func() error) error {
	defer func() {
		if r := recover(); r != nil {
			log.Error("panic", "value", r, "stack", string(debug.Stack()))
			crash()
		}
	}()
	return f()
}
