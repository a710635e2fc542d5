package auth

import (
	"fmt"
	"strings"
)

// Pattern matches names of repositories: "*" stands for any part of one component, "**" for any
// number of whole components, so "a/**" matches "a" too. Nothing else is special, except the
// placeholders of a pattern that ParseTemplate read.
type Pattern struct {
	text   string
	tokens []patternToken
}

type patternToken struct {
	kind tokenKind
	text string // a literal, or the name of a placeholder
}

type tokenKind int

const (
	literal     tokenKind = iota
	placeholder           // {NAME}
	star                  // any text without a slash
	dirs                  // nothing, or whole components and the slash after them
	below                 // nothing, or a slash and whatever follows; comes last
	everything            // the only one
)

// ParsePattern reads a pattern. Its error says what is wrong with it.
func ParsePattern(text string) (Pattern, error) {
	if err := checkPattern(text); err != nil {
		return Pattern{}, err
	}
	return Pattern{text: text, tokens: patternTokens(text)}, nil
}

func checkPattern(text string) error {
	parts := strings.Split(text, "/")
	for i, part := range parts {
		switch {
		case part == "":
			return fmt.Errorf("pattern %q has an empty component", text)
		case part == "**":
			if i > 0 && parts[i-1] == "**" {
				return fmt.Errorf("pattern %q has ** twice in a row", text)
			}
		case strings.Contains(part, "**"):
			return fmt.Errorf("pattern %q: ** stands for whole components, between slashes", text)
		case strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789._-*") != "":
			return fmt.Errorf("pattern %q: names have lower-case letters, digits, '.', '_' and '-'; patterns also * and **", text)
		}
	}
	return nil
}

// ParseTemplate reads a pattern with placeholders in braces, whose names are those that known
// accepts; expected lists them for the error.
func ParseTemplate(text string, known func(name string) bool, expected string) (Pattern, error) {
	var plain strings.Builder // the pattern with a letter for each placeholder
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "{")
		plain.WriteString(before)
		if !found {
			break
		}
		name, after, closed := strings.Cut(after, "}")
		if !closed || !known(name) {
			return Pattern{}, fmt.Errorf("pattern %q: what is in braces is %s", text, expected)
		}
		plain.WriteByte('x')
		rest = after
	}
	if err := checkPattern(plain.String()); err != nil {
		if plain.String() != text {
			return Pattern{}, fmt.Errorf("pattern %q, with x for what is in braces: %w", text, err)
		}
		return Pattern{}, err
	}
	return Pattern{text: text, tokens: patternTokens(text)}, nil
}

// patternTokens splits a well-formed pattern.
func patternTokens(text string) []patternToken {
	if text == "**" {
		return []patternToken{{kind: everything}}
	}
	var list []patternToken
	add := func(t patternToken) {
		if n := len(list); t.kind == literal && n > 0 && list[n-1].kind == literal {
			list[n-1].text += t.text
		} else {
			list = append(list, t)
		}
	}
	parts := strings.Split(text, "/")
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "**" && last {
			add(patternToken{kind: below})
			break
		}
		if i > 0 && parts[i-1] != "**" {
			add(patternToken{kind: literal, text: "/"})
		}
		if part == "**" {
			add(patternToken{kind: dirs})
			continue
		}
		for part != "" {
			var t patternToken
			t, part = nextToken(part)
			add(t)
		}
	}
	return list
}

// nextToken cuts the first token off a part of a component.
func nextToken(part string) (patternToken, string) {
	switch at := strings.IndexAny(part, "*{"); {
	case at < 0:
		return patternToken{kind: literal, text: part}, ""
	case at > 0:
		return patternToken{kind: literal, text: part[:at]}, part[at:]
	case part[0] == '*':
		return patternToken{kind: star}, part[1:]
	}
	name, rest, _ := strings.Cut(part[1:], "}")
	return patternToken{kind: placeholder, text: name}, rest
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Placeholders returns the names of the placeholders in their order, with repetitions.
func (p Pattern) Placeholders() []string {
	var names []string
	for i := range p.tokens {
		if p.tokens[i].kind == placeholder {
			names = append(names, p.tokens[i].text)
		}
	}
	return names
}

// Match reports whether the pattern matches the whole of a repository's name. Placeholders match
// nothing.
func (p Pattern) Match(repository string) bool {
	return p.MatchWith(repository, func(string) string { return "" })
}

// MatchWith reports whether the pattern matches the whole of a repository's name, with the values
// of its placeholders. A value is taken as it is: wildcards in it match only themselves. An empty
// one makes the pattern match nothing.
func (p Pattern) MatchWith(repository string, value func(placeholder string) string) bool {
	if repository == "" {
		return false
	}
	// A star stands for the shortest text first. Where the rest does not match then, the last star
	// takes a character more, and where it cannot, the last "**" a component more. Those before
	// them need not be tried again: what they could leave to the rest by taking more, the last one
	// leaves too. So the time is bounded by the product of the lengths.
	at := matchPoint{p.tokens, repository}
	var lastStar, lastDirs matchPoint
	for len(at.tokens) > 0 || at.name != "" {
		ok := false
		if len(at.tokens) > 0 {
			kind := at.tokens[0].kind
			at, ok = at.take(value)
			switch kind {
			case star:
				lastStar = at
			case dirs:
				lastStar, lastDirs = matchPoint{}, at
			}
		}
		if !ok {
			if lastStar, ok = lastStar.skipByte(); ok {
				at = lastStar
			} else if lastDirs, ok = lastDirs.skipComponent(); ok {
				at = lastDirs
			} else {
				return false
			}
		}
	}
	return true
}

// matchPoint is what is left of the pattern and of the name in a match.
type matchPoint struct {
	tokens []patternToken
	name   string
}

// take moves past the first token. A star or "**" takes nothing of the name.
func (m matchPoint) take(value func(placeholder string) string) (matchPoint, bool) {
	t, rest := &m.tokens[0], m.tokens[1:]
	text := t.text
	switch t.kind {
	case star, dirs:
		return matchPoint{rest, m.name}, true
	case below:
		return matchPoint{}, m.name == "" || m.name[0] == '/'
	case everything:
		return matchPoint{}, true
	case placeholder:
		if text = value(t.text); text == "" {
			return matchPoint{}, false
		}
	}
	name, ok := strings.CutPrefix(m.name, text)
	return matchPoint{rest, name}, ok
}

// skipByte moves on by a character, which must not be a slash.
func (m matchPoint) skipByte() (matchPoint, bool) {
	if m.name == "" || m.name[0] == '/' {
		return matchPoint{}, false
	}
	return matchPoint{m.tokens, m.name[1:]}, true
}

// skipComponent moves on to what follows the next slash.
func (m matchPoint) skipComponent() (matchPoint, bool) {
	_, name, more := strings.Cut(m.name, "/")
	return matchPoint{m.tokens, name}, more
}
