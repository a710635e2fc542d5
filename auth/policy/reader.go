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

// reader reads YAML strictly and collects what is wrong with it, so that one look
// at a file tells all. What has a fault is read on as if it were not there.
type reader struct {
	file   string
	faults []fault
}

// fault is one thing that is wrong.
type fault struct {
	line int
	text string
}

const maxFaults = 20 // that an error tells of

func (r *reader) wrong(line int, format string, args ...any) {
	r.faults = append(r.faults, fault{line, fmt.Sprintf(format, args...)})
}

// err is everything that was wrong, in the order of lines, or nil.
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

// document reads the one document that a file holds.
func (r *reader) document(data []byte) *yaml.Node {
	if len(data) > MaxSize {
		r.wrong(1, "the file has more than %d bytes", MaxSize)
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, another yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		r.wrong(1, "the file is empty")
		return nil
	case err != nil:
		r.syntax(err, data)
		return nil
	}
	switch err := decoder.Decode(&another); {
	case err == nil:
		r.wrong(another.Line, "a second document begins here: expected one")
	case !errors.Is(err, io.EOF):
		r.syntax(err, data)
	}
	return document.Content[0]
}

var (
	errorLine     = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntax notes an error of the YAML package. The line that comes with it may be that
// where the list or mapping around the fault begins; it is counted from 0 by its
// parser, from 1 by its scanner, and left out where it is 0.
func (r *reader) syntax(err error, data []byte) {
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
	r.wrong(max(line, 1), "not well-formed YAML, here or below: %s; text that begins with *, !, { or & must be in quotes", text)
}

// entry is one key of a mapping.
type entry struct {
	key   string
	line  int
	value *yaml.Node
}

// mapping reads a mapping, in which no key may be there twice.
func (r *reader) mapping(n *yaml.Node, what string) []entry {
	if n.Kind != yaml.MappingNode {
		r.wrong(n.Line, "%s: expected a mapping, found %s", what, describe(n))
		return nil
	}
	var list []entry
	lines := make(map[string]int) // of each key
	for i := 0; i+1 < len(n.Content); i += 2 {
		line := n.Content[i].Line
		key, ok := r.text(n.Content[i], "a key of "+what)
		if first, twice := lines[key]; ok && twice {
			r.wrong(line, "key %s is there twice, first in line %d", key, first)
		} else if ok {
			lines[key] = line
			list = append(list, entry{key, line, n.Content[i+1]})
		}
	}
	return list
}

// field is a key that a mapping may have, and what reads its value.
type field struct {
	key  string
	read func(value *yaml.Node)
}

// fields reads a mapping that may have only the given keys.
func (r *reader) fields(n *yaml.Node, what string, known ...field) {
	for _, e := range r.mapping(n, what) {
		at := slices.IndexFunc(known, func(f field) bool { return f.key == e.key })
		if at < 0 {
			r.wrong(e.line, "unknown key %s, did you mean %s?", e.key, nearest(e.key, known))
			continue
		}
		known[at].read(e.value)
	}
}

// items reads a list.
func (r *reader) items(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		r.wrong(n.Line, "%s: expected a list, found %s", what, describe(n))
		return nil
	}
	return n.Content
}

// word is a text and where it stands.
type word struct {
	text string
	line int
}

// words reads a list of texts, or one text for a list of one. None may be there twice.
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
			r.wrong(item.Line, "%s: %s is there twice", what, text)
		} else if ok {
			seen[text] = true
			list = append(list, word{text, item.Line})
		}
	}
	return list
}

// someWords reads a list of texts that must not be empty.
func (r *reader) someWords(n *yaml.Node, what string) []word {
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		r.wrong(n.Line, "%s is empty", what)
	}
	return r.words(n, what)
}

// texts is the words alone.
func texts(list []word) []string {
	var all []string
	for _, w := range list {
		all = append(all, w.text)
	}
	return all
}

// text reads a text; numbers are texts as they are written, and so are true and false.
func (r *reader) text(n *yaml.Node, what string) (string, bool) {
	switch tag := n.ShortTag(); {
	case n.Kind != yaml.ScalarNode:
		r.wrong(n.Line, "%s: expected a text, found %s", what, describe(n))
	case !strings.HasPrefix(tag, "!!"):
		r.wrong(n.Line, "%s: YAML takes %s for a tag: put it in quotes", what, tag)
	case tag == "!!null", n.Value == "":
		r.wrong(n.Line, "%s is empty", what)
	case tag == "!!bool":
		return strings.ToLower(n.Value), true
	case strings.ContainsFunc(n.Value, isControl):
		r.wrong(n.Line, "%s: %q has characters that are not to be seen", what, n.Value)
	default:
		return n.Value, true
	}
	return "", false
}

func isControl(c rune) bool {
	return c < ' ' || c == 0x7f || c == '\u2028' || c == '\u2029' || c == '\ufffd'
}

// describe says what a node is, and what it was probably meant to be.
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

// nearest is the key that takes the fewest insertions, deletions and replacements
// to be made of the unknown one.
func nearest(key string, known []field) string {
	key = key[:min(len(key), 32)] // keys are short; what stands in a file need not be
	best, least := "", -1
	for _, f := range known {
		if d := levenshtein.ComputeDistance(key, f.key); least < 0 || d < least {
			best, least = f.key, d
		}
	}
	return best
}
