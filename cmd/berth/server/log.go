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

// urgent is a handler that does not leave warnings and errors in the queue.
type urgent struct {
	slog.Handler
	lines *logQueue
}

func (u urgent) Handle(ctx context.Context, r slog.Record) error {
	err := u.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		u.lines.hurry()
	}
	return err
}

func (u urgent) WithAttrs(attrs []slog.Attr) slog.Handler {
	return urgent{u.Handler.WithAttrs(attrs), u.lines}
}

func (u urgent) WithGroup(name string) slog.Handler {
	return urgent{u.Handler.WithGroup(name), u.lines}
}

// openLog makes the program's logger as the configuration wants it, and starts the queue of its
// lines. The caller closes the queue.
func openLog(c config.LogConfig, to io.Writer) (*slog.Logger, *logQueue, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return nil, nil, err
	}
	text := c.Format == "text" || c.Format == "auto" && isTerminal(to)
	handler := func(w io.Writer) slog.Handler {
		options := &slog.HandlerOptions{Level: level}
		if text {
			return slog.NewTextHandler(w, options)
		}
		return slog.NewJSONHandler(w, options)
	}
	lines := newLogQueue(to, func(missing int) []byte {
		var line bytes.Buffer // which takes everything
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "the log lacks lines here: it was not read in time, or could not be written", 0)
		r.AddAttrs(slog.Int("lines", missing))
		_ = handler(&line).Handle(context.Background(), r)
		return line.Bytes()
	})
	go lines.run()
	return slog.New(urgent{handler(lines), lines}), lines, nil
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// guard runs f. A panic is logged and ends the program by crash. It does not go on to the runtime,
// which writes to standard error itself: with a reader that stands still the process would be
// stuck there, with every goroutine stopped.
func guard(log *slog.Logger, crash func(), f func() error) error {
	defer func() {
		if r := recover(); r != nil {
			log.Error("panic", "value", r, "stack", string(debug.Stack()))
			crash()
		}
	}()
	return f()
}
