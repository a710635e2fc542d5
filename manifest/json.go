package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// value is one JSON value, from its first byte to its last. readJSON has validated it, so the
// methods only need to look at punctuation, and none recurses.
//
// This reader exists because encoding/json accepts "Layers" for "layers", and the last of two equal
// keys. Other readers take the first, or neither. A manifest must not have different meanings for
// different readers.
type value []byte

// fault is an error at one place of a document. Callers prepend to the path as they return it, so a
// document without errors costs nothing extra.
type fault struct {
	path, message string
}

func (f *fault) Error() string {
	if f.path == "" {
		return f.message
	}
	return f.path + ": " + f.message
}

func faultf(format string, args ...any) error {
	return &fault{message: fmt.Sprintf(format, args...)}
}

// atPath prepends a step, such as "key" or "[2]", to the path of a fault.
func atPath(step string, err error) error {
	f, ok := errors.AsType[*fault](err)
	if !ok {
		return &fault{path: step, message: err.Error()}
	}
	switch {
	case f.path == "":
		f.path = step
	case f.path[0] == '[':
		f.path = step + f.path
	default:
		f.path = step + "." + f.path
	}
	return f
}

// quoteShort quotes text from a client, shortened to 96 bytes.
func quoteShort[T ~string | ~[]byte](s T) string {
	const limit = 96
	if len(s) <= limit {
		return strconv.Quote(string(s))
	}
	return strconv.Quote(string(s[:limit])) + "…"
}

// readJSON checks that data is one JSON value in UTF-8 with nothing after it. Values may be nested
// as deeply as encoding/json allows (10,000 levels).
func readJSON(data []byte) (value, error) {
	if !utf8.Valid(data) {
		return nil, faultf("not valid UTF-8")
	}
	if !json.Valid(data) {
		var raw json.RawMessage
		err := json.Unmarshal(data, &raw)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, faultf("not valid JSON at byte %d: %v", syntax.Offset, err)
		}
		return nil, faultf("not valid JSON: %v", err)
	}
	return bytes.Trim(data, " \t\r\n"), nil
}

// members calls f with each key and value of an object, in order.
func (v value) members(f func(key []byte, v value) error) error {
	if v[0] != '{' {
		return faultf("expected an object, found %s", v.kind())
	}
	for i := skipSpace(v, 1); v[i] != '}'; {
		keyEnd := stringEnd(v, i)
		key, err := unquote(v[i:keyEnd])
		if err != nil {
			return err
		}
		colon := skipSpace(v, keyEnd)
		i = skipSpace(v, colon+1)
		end := valueEnd(v, i)
		if err := f(key, v[i:end:end]); err != nil {
			return err
		}
		i = skipComma(v, end)
	}
	return nil
}

// elements calls f with each element of an array, in order.
func (v value) elements(f func(v value) error) error {
	if v[0] != '[' {
		return faultf("expected an array, found %s", v.kind())
	}
	n := 0
	for i := skipSpace(v, 1); v[i] != ']'; n++ {
		end := valueEnd(v, i)
		if err := f(v[i:end:end]); err != nil {
			return atPath("["+strconv.Itoa(n)+"]", err)
		}
		i = skipComma(v, end)
	}
	return nil
}

// knownMembers calls f with the members of an object whose keys are in known, which has at most 32
// keys. It ignores other members, as the image spec requires. A key that appears twice is an error.
// So is a key that differs from a known one only in case, because some readers ignore case.
func (v value) knownMembers(known []string, f func(key string, v value) error) error {
	var seen uint32
	var others map[string]struct{}
	return v.members(func(key []byte, v value) error {
		for i, name := range known {
			if name != string(key) {
				continue
			}
			if seen&(1<<i) != 0 {
				return faultf("the key %s appears twice", quoteShort(key))
			}
			seen |= 1 << i
			if err := f(name, v); err != nil {
				return atPath(name, err)
			}
			return nil
		}
		for _, name := range known {
			if len(key) <= 4*len(name) && bytes.EqualFold(key, []byte(name)) {
				return faultf("the key %s is spelled %q", quoteShort(key), name)
			}
		}
		if _, twice := others[string(key)]; twice {
			return faultf("the key %s appears twice", quoteShort(key))
		}
		if others == nil {
			others = make(map[string]struct{})
		}
		others[string(key)] = struct{}{}
		return nil
	})
}

// stringMap reads an object of strings, in which no key may appear twice. It returns nil for null
// and for an empty object.
func (v value) stringMap() (map[string]string, error) {
	if v.isNull() {
		return nil, nil
	}
	var all map[string]string
	err := v.members(func(key []byte, v value) error {
		if _, twice := all[string(key)]; twice {
			return faultf("the key %s appears twice", quoteShort(key))
		}
		text, err := v.text()
		if err != nil {
			return atPath("["+quoteShort(key)+"]", err)
		}
		if all == nil {
			all = make(map[string]string)
		}
		all[string(key)] = text
		return nil
	})
	return all, err
}

// text reads a string.
func (v value) text() (string, error) {
	if v[0] != '"' {
		return "", faultf("expected a string, found %s", v.kind())
	}
	text, err := unquote(v)
	return string(text), err
}

// natural reads an integer from 0 to math.MaxInt64. It must be written as digits only: strict
// readers reject 1.0 and 1e3.
func (v value) natural() (int64, error) {
	n, err := strconv.ParseInt(string(v[:min(len(v), 32)]), 10, 64)
	if err != nil || n < 0 {
		return 0, faultf("expected a whole number, 0 or more, found %s", quoteShort(v))
	}
	return n, nil
}

func (v value) isNull() bool { return v[0] == 'n' }

// kind returns the type of the value, for messages.
func (v value) kind() string {
	switch v[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// skipComma returns the index of the next member or element, or of the closing bracket. i is the
// end of the previous one.
func skipComma(data []byte, i int) int {
	if i = skipSpace(data, i); data[i] == ',' {
		i = skipSpace(data, i+1)
	}
	return i
}

// stringEnd returns the index after the string that starts at data[i].
func stringEnd(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// valueEnd returns the index after the value that starts at data[i].
func valueEnd(data []byte, i int) int {
	for depth := 0; i < len(data); {
		switch c := data[i]; c {
		case '"':
			i = stringEnd(data, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			if depth == 0 {
				return i // the closing bracket of the surrounding value
			}
			depth--
			i++
		default:
			if depth == 0 && (c == ',' || c == ' ' || c == '\n' || c == '\t' || c == '\r') {
				return i
			}
			i++
			continue
		}
		if depth == 0 {
			return i
		}
	}
	return i
}

// unquote decodes a JSON string. An unpaired surrogate is an error: each reader replaces it in its
// own way, so that two different keys could become equal.
func unquote(quoted []byte) ([]byte, error) {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	if !surrogatesPaired(inner) {
		return nil, faultf("the string %s has half of a surrogate pair", quoteShort(quoted))
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, err
	}
	return []byte(text), nil
}

// surrogatesPaired reports whether every escaped surrogate in the string is part of a pair.
func surrogatesPaired(inner []byte) bool {
	for i := 0; i < len(inner); i++ {
		if inner[i] != '\\' {
			continue
		}
		i++
		if inner[i] != 'u' {
			continue
		}
		first := parseEscape(inner[i-1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		if utf16.DecodeRune(first, parseEscape(inner[i+1:])) == utf8.RuneError {
			return false
		}
		i += 6
	}
	return true
}

// parseEscape returns the code unit of the \uXXXX at the start of s, or -1 if there is none.
func parseEscape(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 32)
	if err != nil {
		return -1
	}
	return rune(n)
}
