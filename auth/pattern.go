package auth

import (
	"fmt"
	"strings"
)

// Pattern matches names of repositories. "*" matches any text within one component. "**" matches
// any number of whole components, so "a/**" matches "a" too. A pattern from ParseTemplate may also
// contain placeholders. Everything else matches literally.
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
	star                  // "*": any text without a slash
	anyDirs               // "**/": nothing, or whole components, each with its slash
	subtree               // "/**" at the end: nothing, or a slash and any text
	anyName               // "**" as the whole pattern
)

// ParsePattern parses a pattern without placeholders.
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

// ParseTemplate parses a pattern with placeholders in braces. known reports whether the name of a
// placeholder is valid; expected lists the valid names for the error message.
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

// patternTokens splits a valid pattern into tokens.
func patternTokens(text string) []patternToken {
	if text == "**" {
		return []patternToken{{kind: anyName}}
	}
	var list []patternToken
	add := func(t patternToken) {
		if n := len(list); t.kind == literal && n > 0 && list[n-1].kind == literal {
			list[n-1].text += t.text
		} else {
			list = append(list, t)
		}
	}
	parts := splitComponents(text)
	for i, part := range parts {
		last := i == len(parts)-1
		if part == "**" && last {
			add(patternToken{kind: subtree})
			break
		}
		if i > 0 && parts[i-1] != "**" {
			add(patternToken{kind: literal, text: "/"})
		}
		if part == "**" {
			add(patternToken{kind: anyDirs})
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

// splitComponents splits a valid pattern at its slashes. The name of a placeholder may have slashes
// too, which separate nothing.
func splitComponents(text string) []string {
	var parts []string
	begin, braces := 0, false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '{' || c == '}':
			braces = c == '{'
		case c == '/' && !braces:
			parts = append(parts, text[begin:i])
			begin = i + 1
		}
	}
	return append(parts, text[begin:])
}

// nextToken returns the first token of part, which is within one component, and the rest.
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

// Placeholders returns the names of the placeholders in order, including repetitions.
func (p Pattern) Placeholders() []string {
	var names []string
	for i := range p.tokens {
		if p.tokens[i].kind == placeholder {
			names = append(names, p.tokens[i].text)
		}
	}
	return names
}

// Match reports whether the pattern matches the whole name of a repository. A pattern with
// placeholders matches nothing.
func (p Pattern) Match(repository string) bool {
	return p.MatchWith(repository, func(string) string { return "" })
}

// MatchWith reports whether the pattern matches the whole name of a repository, with the given
// values of its placeholders. A value is literal: wildcards in it match only themselves. If a value
// is empty, the pattern matches nothing.
func (p Pattern) MatchWith(repository string, value func(placeholder string) string) bool {
	if repository == "" {
		return false
	}
	// Each wildcard matches the shortest text first. On a mismatch, the last star is extended by
	// one character. If it cannot be extended, the last "**" is extended by one component. Earlier
	// wildcards are not tried again, because extending the last one reaches every remainder of the
	// name that extending an earlier one would. So the time is bounded by the product of the
	// lengths.
	at := matchState{p.tokens, repository}
	var lastStar, lastDirs matchState
	for len(at.tokens) > 0 || at.name != "" {
		ok := false
		if len(at.tokens) > 0 {
			kind := at.tokens[0].kind
			at, ok = at.consume(value)
			switch kind {
			case star:
				lastStar = at
			case anyDirs:
				lastStar, lastDirs = matchState{}, at
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

// matchState is the rest of the pattern and the rest of the name that are still to be matched.
type matchState struct {
	tokens []patternToken
	name   string
}

// consume matches the first token. A star or "**" matches the empty text at first.
func (m matchState) consume(value func(placeholder string) string) (matchState, bool) {
	t, rest := &m.tokens[0], m.tokens[1:]
	text := t.text
	switch t.kind {
	case star, anyDirs:
		return matchState{rest, m.name}, true
	case subtree:
		return matchState{}, m.name == "" || m.name[0] == '/'
	case anyName:
		return matchState{}, true
	case placeholder:
		if text = value(t.text); text == "" {
			return matchState{}, false
		}
	}
	name, ok := strings.CutPrefix(m.name, text)
	return matchState{rest, name}, ok
}

// skipByte extends a star by one character, which must not be a slash.
func (m matchState) skipByte() (matchState, bool) {
	if m.name == "" || m.name[0] == '/' {
		return matchState{}, false
	}
	return matchState{m.tokens, m.name[1:]}, true
}

// skipComponent extends a "**" by one component.
func (m matchState) skipComponent() (matchState, bool) {
	_, name, more := strings.Cut(m.name, "/")
	return matchState{m.tokens, name}, more
}
