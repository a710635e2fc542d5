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

// value is one JSON value, from its first byte to its last. It comes out of
// readJSON, so it is known to be valid: the methods find their way by looking
// at punctuation alone, without recursion.
//
// This reader exists because encoding/json takes "Layers" for "layers" and the
// last of two equal keys, where other readers take the first or neither: a
// manifest must not mean different things to different readers.
type value []byte

// fault is what is wrong at one place of a document. The path grows on the way
// up, so that a document without faults pays nothing for it.
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

// under puts a step, "key" or "[2]", in front of a fault's path.
func under(step string, err error) error {
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

// show quotes what a client sent, and no more of it than helps.
func show[T ~string | ~[]byte](s T) string {
	const most = 96
	if len(s) <= most {
		return strconv.Quote(string(s))
	}
	return strconv.Quote(string(s[:most])) + "…"
}

// readJSON checks that data is one JSON value in UTF-8, nested no deeper than
// encoding/json allows (10,000 levels), and nothing after it.
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
			return under("["+strconv.Itoa(n)+"]", err)
		}
		i = skipComma(v, end)
	}
	return nil
}

// object calls f with the members whose key is in known, at most 32 of them;
// the others are left unread, as the image spec demands. No key may appear
// twice, and none may differ from a known one in case alone: readers that fold
// case would take it for the known one.
func (v value) object(known []string, f func(key string, v value) error) error {
	var seen uint32
	var others map[string]struct{}
	return v.members(func(key []byte, v value) error {
		for i, name := range known {
			if name != string(key) {
				continue
			}
			if seen&(1<<i) != 0 {
				return faultf("the key %s appears twice", show(key))
			}
			seen |= 1 << i
			if err := f(name, v); err != nil {
				return under(name, err)
			}
			return nil
		}
		for _, name := range known {
			if len(key) <= 4*len(name) && bytes.EqualFold(key, []byte(name)) {
				return faultf("the key %s is spelled %q", show(key), name)
			}
		}
		if _, twice := others[string(key)]; twice {
			return faultf("the key %s appears twice", show(key))
		}
		if others == nil {
			others = make(map[string]struct{})
		}
		others[string(key)] = struct{}{}
		return nil
	})
}

// dictionary reads an object of strings, in which no key may appear twice.
// null and an object without members are nil.
func (v value) dictionary() (map[string]string, error) {
	if v.null() {
		return nil, nil
	}
	var all map[string]string
	err := v.members(func(key []byte, v value) error {
		if _, twice := all[string(key)]; twice {
			return faultf("the key %s appears twice", show(key))
		}
		text, err := v.text()
		if err != nil {
			return under("["+show(key)+"]", err)
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

// natural reads a whole number from 0 to the largest int64, written as digits:
// 1.0 and 1e3 are not, since strict readers refuse them.
func (v value) natural() (int64, error) {
	n, err := strconv.ParseInt(string(v[:min(len(v), 32)]), 10, 64)
	if err != nil || n < 0 {
		return 0, faultf("expected a whole number, 0 or more, found %s", show(v))
	}
	return n, nil
}

func (v value) null() bool { return v[0] == 'n' }

// kind names the value's type for a message.
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

// skipComma goes from the end of a member or element to the next one, or to
// the closing bracket.
func skipComma(data []byte, i int) int {
	if i = skipSpace(data, i); data[i] == ',' {
		i = skipSpace(data, i+1)
	}
	return i
}

// stringEnd returns the index after the string that begins at data[i].
func stringEnd(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// valueEnd returns the index after the value that begins at data[i].
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
				return i // the bracket that closes what a number or literal is in
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

// unquote returns what a string in quotes stands for. Half of a surrogate pair
// stands for nothing: readers replace it, each in its own way, so that two
// different keys could become one.
func unquote(quoted []byte) ([]byte, error) {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	if !paired(inner) {
		return nil, faultf("the string %s has half of a surrogate pair", show(quoted))
	}
	var text string
	if err := json.Unmarshal(quoted, &text); err != nil {
		return nil, err
	}
	return []byte(text), nil
}

// paired reports whether each surrogate that is escaped in the string has its
// other half.
func paired(inner []byte) bool {
	for i := 0; i < len(inner); i++ {
		if inner[i] != '\\' {
			continue
		}
		i++
		if inner[i] != 'u' {
			continue
		}
		first := escaped(inner[i-1:])
		i += 4
		if !utf16.IsSurrogate(first) {
			continue
		}
		if utf16.DecodeRune(first, escaped(inner[i+1:])) == utf8.RuneError {
			return false
		}
		i += 6
	}
	return true
}

// escaped reads the \uXXXX that s begins with; -1 if it does not.
func escaped(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 32)
	if err != nil {
		return -1
	}
	return rune(n)
}
