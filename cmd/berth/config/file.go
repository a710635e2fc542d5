package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/v2"
	"go.yaml.in/yaml/v3"
)

// settingsFile is a configuration file that is being read. Nothing in it is ignored: what is no
// setting is an error, and so is a key that is there twice.
type settingsFile struct {
	name   string
	all    []Setting
	lines  map[string]int // of each key that was read
	values *koanf.Koanf
	wrong  []error
}

// readFile reads a YAML file, if there is one. A key may be in the mapping of its section or
// written with dots. The layer has the settings that could be read, also with an error.
func readFile(name string, all []Setting) (layer, error) {
	f := &settingsFile{name: name, all: all, lines: make(map[string]int), values: koanf.New(".")}
	found := layer{func(Setting) string { return "file " + name }, f.values}
	if name == "" {
		return found, nil
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return found, fmt.Errorf("configuration file: %w", err)
	}
	root, err := onlyDocument(data)
	switch {
	case err != nil:
		return found, fmt.Errorf("configuration file %s: %w", name, err)
	case root == nil || isNull(root):
	case root.Kind != yaml.MappingNode:
		f.refusef(root.Line, "expected keys with values, such as data: /var/lib/berth")
	case isDistribution(root):
		f.refusef(root.Line,
			"this is a configuration of CNCF distribution (registry:2), whose settings have other names: "+
				"`berth config check` without a file lists those of berth, and docs/configuration.md says what they mean")
	default:
		f.readMapping("", root)
	}
	return found, errors.Join(f.wrong...)
}

// onlyDocument returns the root of the only YAML document in data, or nil if there is none.
func onlyDocument(data []byte) (*yaml.Node, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, another yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, err
	}
	switch err := decoder.Decode(&another); {
	case err == nil:
		return nil, fmt.Errorf("a second document begins in line %d: expected one", another.Line)
	case !errors.Is(err, io.EOF):
		return nil, fmt.Errorf("text after the end of the document: %w", err)
	}
	return document.Content[0], nil
}

// isDistribution reports whether a file is one of CNCF distribution, which begins with its version.
func isDistribution(root *yaml.Node) bool {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "version" && strings.HasPrefix(root.Content[i+1].Value, "0.") {
			return true
		}
	}
	return false
}

func (f *settingsFile) refusef(line int, format string, args ...any) {
	f.wrong = append(f.wrong, fmt.Errorf("configuration file %s:%d: %s", f.name, line, fmt.Sprintf(format, args...)))
}

// readMapping reads the keys of a mapping. prefix is the section that it is, with a dot.
func (f *settingsFile) readMapping(prefix string, n *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, line := prefix+n.Content[i].Value, n.Content[i].Line
		if first, twice := f.lines[key]; twice {
			f.refusef(line, "%s is there twice, first in line %d", key, first)
			continue
		}
		f.lines[key] = line
		f.readKey(key, line, n.Content[i+1])
	}
}

func (f *settingsFile) readKey(key string, line int, n *yaml.Node) {
	switch {
	case slices.ContainsFunc(f.all, func(s Setting) bool { return s.Key == key }):
		f.readSetting(key, n)
	case n.Kind == yaml.MappingNode && len(n.Content) > 0:
		f.readMapping(key+".", n)
	case !isSection(key, f.all):
		f.refusef(line, "unknown key %s%s", key, suggestion(key, f.all))
	case n.Kind != yaml.MappingNode && !isNull(n):
		f.refusef(line, "%s is a section, which holds %s", key, strings.Join(sectionKeys(key, f.all), ", "))
	}
}

// readSetting reads the value of a setting. "key:" without a value leaves the default.
func (f *settingsFile) readSetting(key string, n *yaml.Node) {
	value, err := valueOf(n)
	if err == nil && value != nil {
		err = f.values.Set(key, value)
	}
	if err != nil {
		f.refusef(n.Line, "%s: %v", key, err)
	}
}

// valueOf returns a scalar as the text that stands in the file, or a list of values, or nil for
// null. So 1.10 does not become 1.1, as it would as a number.
func valueOf(n *yaml.Node) (any, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		return scalarOf(n)
	case yaml.SequenceNode:
		list := []any{}
		for _, item := range n.Content {
			value, err := valueOf(item)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		return list, nil
	case yaml.AliasNode:
		return nil, errors.New("an alias of YAML: write out what is meant; text that begins with * must be in quotes")
	}
	return nil, errors.New("a mapping of keys, where a single value or a list is expected")
}

func scalarOf(n *yaml.Node) (any, error) {
	switch tag := n.ShortTag(); tag {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.ToLower(n.Value), nil
	case "!!str", "!!int", "!!float", "!!timestamp":
		return n.Value, nil
	default:
		return nil, fmt.Errorf("YAML takes %s for a tag: put it in quotes", tag)
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func isSection(key string, all []Setting) bool { return len(sectionKeys(key, all)) > 0 }

// sectionKeys returns the keys of a section.
func sectionKeys(section string, all []Setting) []string {
	var keys []string
	for _, s := range all {
		if strings.HasPrefix(s.Key, section+".") {
			keys = append(keys, s.Key)
		}
	}
	return keys
}
