package server

import (
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
	return slog.NewJSONHandler(printableWriter{w}, &slog.HandlerOptions{Level: level, ReplaceAttr: replaceAttr})
}

// replaceAttr makes a duration a number of seconds, and a level the text that it is in JSON: else
// each line's level would be encoded by encoding/json.
func replaceAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindDuration:
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	case slog.KindAny:
		if level, ok := a.Value.Any().(slog.Level); ok {
			a.Value = slog.StringValue(level.String())
		}
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
