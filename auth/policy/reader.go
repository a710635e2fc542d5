package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v3"
)

// reader reads YAML strictly and collects all faults, so that one run reports them all. After a
// fault it continues as if the faulty part were absent.
type reader struct {
	file   string
	faults []fault
}

// fault is one error in the file.
type fault struct {
	line int
	text string
}

const maxFaults = 20 // in one error

func (r *reader) addFaultf(line int, format string, args ...any) {
	r.faults = append(r.faults, fault{line, fmt.Sprintf(format, args...)})
}

// err returns all faults in the order of lines, or nil.
func (r *reader) err() error {
	slices.SortStableFunc(r.faults, func(a, b fault) int { return cmp.Compare(a.line, b.line) })
	var list []error
	for i, f := range r.faults {
		if i == maxFaults {
			list = append(list, fmt.Errorf("%s: and %d more", r.file, len(r.faults)-i))
			break
		}
		list = append(list, fmt.Errorf("%s:%d: %s", r.file, f.line, f.text))
	}
	return errors.Join(list...)
}

// document reads the only document of a file.
func (r *reader) document(data []byte) *yaml.Node {
	if len(data) > MaxSize {
		r.addFaultf(1, "the file has more than %d bytes", MaxSize)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, another yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		r.addFaultf(1, "the file is empty")
		return nil
	case err != nil:
		r.addSyntaxFault(err, data)
		return nil
	}
	switch err := decoder.Decode(&another); {
	case err == nil:
		r.addFaultf(another.Line, "a second document begins here: expected one")
	case !errors.Is(err, io.EOF):
		r.addSyntaxFault(err, data)
	}
	return document.Content[0]
}

var (
	errorLine     = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// addSyntaxFault adds an error of the YAML package as a fault. Its line may be the first line of
// the list or mapping around the error. The parser of the package counts lines from 0 and omits
// line 0; its scanner counts from 1.
func (r *reader) addSyntaxFault(err error, data []byte) {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if found := errorLine.FindStringSubmatch(text); found != nil {
		line, _ = strconv.Atoi(found[1])
		text = text[len(found[0]):]
	}
	if strings.HasPrefix(text, "did not find expected") && !strings.Contains(text, "character") {
		line++
	}
	if found := unknownAnchor.FindStringSubmatch(text); found != nil {
		line = 1 + bytes.Count(data[:max(0, bytes.Index(data, []byte("*"+found[1])))], []byte("\n"))
		text = "*" + found[1] + " is an alias in YAML"
	}
	r.addFaultf(max(line, 1), "not well-formed YAML, here or below: %s; text that begins with *, !, { or & must be in quotes", text)
}

// entry is a key of a mapping with its value.
type entry struct {
	key   string
	line  int
	value *yaml.Node
}

// mapping reads a mapping, in which no key may appear twice.
func (r *reader) mapping(n *yaml.Node, what string) []entry {
	if n.Kind != yaml.MappingNode {
		r.addFaultf(n.Line, "%s: expected a mapping, found %s", what, describe(n))
		return nil
	}
	var list []entry
	lines := make(map[string]int) // of each key
	for i := 0; i+1 < len(n.Content); i += 2 {
		line := n.Content[i].Line
		key, ok := r.text(n.Content[i], "a key of "+what)
		if first, twice := lines[key]; ok && twice {
			r.addFaultf(line, "key %s is there twice, first in line %d", key, first)
		} else if ok {
			lines[key] = line
			list = append(list, entry{key, line, n.Content[i+1]})
		}
	}
	return list
}

// field is a key that a mapping may have, with the function that reads its value.
type field struct {
	key  string
	read func(value *yaml.Node)
}

// fields reads a mapping that may have only the given keys.
func (r *reader) fields(n *yaml.Node, what string, known ...field) {
	for _, e := range r.mapping(n, what) {
		at := slices.IndexFunc(known, func(f field) bool { return f.key == e.key })
		if at < 0 {
			r.addFaultf(e.line, "unknown key %s%s", e.key, suggestion(e.key, known))
			continue
		}
		known[at].read(e.value)
	}
}

// items reads a list.
func (r *reader) items(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.addFaultf(n.Line, "%s: expected a list, found %s", what, describe(n))
		return nil
	}
	return n.Content
}

// word is a text and its line.
type word struct {
	text string
	line int
}

// words reads a list of texts, or a single text as a list of one. No text may appear twice.
func (r *reader) words(n *yaml.Node, what string) []word {
	nodes := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		nodes = n.Content
	}
	var list []word
	seen := make(map[string]bool)
	for _, item := range nodes {
		text, ok := r.text(item, what)
		if ok && seen[text] {
			r.addFaultf(item.Line, "%s: %s is there twice", what, text)
		} else if ok {
			seen[text] = true
			list = append(list, word{text, item.Line})
		}
	}
	return list
}

// nonEmptyWords reads a list of texts that must not be empty.
func (r *reader) nonEmptyWords(n *yaml.Node, what string) []word {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		r.addFaultf(n.Line, "%s is empty", what)
	}
	return r.words(n, what)
}

// wordTexts returns the texts of words, without their lines.
func wordTexts(list []word) []string {
	var all []string
	for _, w := range list {
		all = append(all, w.text)
	}
	return all
}

// text reads a text. Numbers and booleans are texts, too: a number as it is written, a boolean in
// lower case.
func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	switch tag := n.ShortTag(); {
	case n.Kind != yaml.ScalarNode:
		r.addFaultf(n.Line, "%s: expected a text, found %s", what, describe(n))
	case !strings.HasPrefix(tag, "!!"):
		r.addFaultf(n.Line, "%s: YAML takes %s for a tag: put it in quotes", what, tag)
	case tag == "!!null", n.Value == "":
		r.addFaultf(n.Line, "%s is empty", what)
	case tag == "!!bool":
		return strings.ToLower(n.Value), true
	case strings.ContainsFunc(n.Value, isControl):
		r.addFaultf(n.Line, "%s: %q has characters that are not to be seen", what, n.Value)
	default:
		return n.Value, true
	}
	return "", false
}

func isControl(c rune) bool {
	return c < ' ' || c == 0x7f || c == '\u2028' || c == '\u2029' || c == '\ufffd'
}

// describe returns what a node is, and what its author probably meant.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping (text that begins with { must be in quotes)"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias, *" + n.Value + " (write out what is meant; text that begins with * must be in quotes)"
	}
	if n.ShortTag() == "!!null" {
		return "nothing"
	}
	return strconv.Quote(n.Value)
}

// suggestion returns the end of the message about an unknown key: the known key that is probably
// meant, or all of them if none is near.
func suggestion(key string, known []field) string {
	best, least := "", max(2, len(key)/3)+1
	var all []string
	for _, f := range known {
		all = append(all, f.key)
		if len(key) > maxKey {
			continue // keys are short, but the text in the file may be long
		}
		if d := levenshtein.ComputeDistance(key, f.key); d < least {
			best, least = f.key, d
		}
	}
	if best == "" {
		return ": expected one of " + strings.Join(all, ", ")
	}
	return ", did you mean " + best + "?"
}

// maxKey is the length of a key beyond which none is similar to it.
const maxKey = 32
