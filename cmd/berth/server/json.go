package server

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// newJSONHandler returns a handler that writes a line of JSON for each record. A duration is a
// number of seconds. Characters that are not printable are escaped, so that a client's text cannot
// rearrange what a terminal shows.
func newJSONHandler(w io.Writer, level slog.Leveler) slog.Handler {
	return secondsHandler{slog.NewJSONHandler(printableWriter{w}, &slog.HandlerOptions{Level: level})}
}

// secondsHandler gives the inner handler each duration as a number of seconds. It is cheaper than
// slog.HandlerOptions.ReplaceAttr, which makes the level of every line go through encoding/json.
type secondsHandler struct{ slog.Handler }

func (h secondsHandler) Handle(ctx context.Context, r slog.Record) error {
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, durationInSeconds(a))
		return true
	})
	line := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	line.AddAttrs(attrs...)
	return h.Handler.Handle(ctx, line)
}

func (h secondsHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	converted := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		converted[i] = durationInSeconds(a)
	}
	return secondsHandler{h.Handler.WithAttrs(converted)}
}

func (h secondsHandler) WithGroup(name string) slog.Handler {
	return secondsHandler{h.Handler.WithGroup(name)}
}

func durationInSeconds(a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}

// printableWriter writes JSON with every character escaped that is not printable, as the text
// format does. encoding/json escapes only those below U+0020.
type printableWriter struct{ io.Writer }

func (w printableWriter) Write(line []byte) (int, error) {
	for i, c := range line {
		if c >= 0x7f {
			_, err := w.Writer.Write(appendPrintable(append(make([]byte, 0, len(line)+64), line[:i]...), line[i:]))
			return len(line), err
		}
	}
	return w.Writer.Write(line)
}

// appendPrintable appends JSON to dst. Outside of strings JSON has ASCII alone, so every other
// character is in a string and can be escaped there.
func appendPrintable(dst, json []byte) []byte {
	for len(json) > 0 {
		r, size := utf8.DecodeRune(json)
		switch {
		case r == '\n' || unicode.IsPrint(r):
			dst = append(dst, json[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = appendEscaped(appendEscaped(dst, high), low)
		default:
			dst = appendEscaped(dst, r)
		}
		json = json[size:]
	}
	return dst
}

// appendEscaped appends a character below U+10000 as \uXXXX.
func appendEscaped(dst []byte, r rune) []byte {
	digits := strconv.FormatInt(int64(r)|0x10000, 16) // "1" and four digits
	return append(append(dst, `\u`...), digits[1:]...)
}
