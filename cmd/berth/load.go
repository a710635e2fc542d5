package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Variables that are no setting but ours all the same.
const (
	configEnv  = envPrefix + "CONFIG" // the configuration file, where --config is not given
	testPrefix = envPrefix + "TEST_"  // for the project's tests
)

// sources is where a configuration is read from.
type sources struct {
	file    string // YAML; "": BERTH_CONFIG, or none
	environ []string
	flags   *pflag.FlagSet
}

// loaded is a configuration with what is worth telling about it.
type loaded struct {
	Config
	origin  map[string]string // of each key: "default", "file x.yaml", "variable BERTH_X" or "flag --x"
	unknown []string          // variables that look like ours and are not
}

const fromDefault = "default"

// layer is one source's settings. Its values are what the source has: YAML's types, or text.
type layer struct {
	name   func(setting) string
	values *koanf.Koanf
}

// load reads the configuration: defaults, then the file, then the environment, then the flags that were given; later ones
// win. Everything that is wrong with it is in the error, one line each, with secrets masked.
func load(src sources) (*loaded, error) {
	if src.file == "" {
		src.file = lookup(src.environ, configEnv)
	}
	l := &loaded{origin: make(map[string]string)}
	all := settings()
	defaultLayer, err := readDefaults()
	if err != nil {
		return nil, err
	}
	layers := []layer{defaultLayer}
	if src.file != "" {
		fileLayer, err := readFile(src.file, all)
		if err != nil {
			return nil, err
		}
		layers = append(layers, fileLayer)
	}
	envLayer, err := l.readEnv(src.environ, all)
	if err != nil {
		return nil, err
	}
	layers = append(layers, envLayer)
	if src.flags != nil {
		flagLayer, err := readFlags(src.flags, all)
		if err != nil {
			return nil, err
		}
		layers = append(layers, flagLayer)
	}
	if err := l.merge(layers, all); err != nil {
		return nil, err
	}
	return l, l.resolve()
}

// merge lays the layers over each other and fills Config from what comes out.
func (l *loaded) merge(layers []layer, all []setting) error {
	merged := koanf.New(".")
	for _, layer := range layers {
		if err := merged.Merge(layer.values); err != nil {
			return fmt.Errorf("reading the configuration: %w", err)
		}
		for _, s := range all {
			if layer.values.Get(s.key) != nil {
				l.origin[s.key] = layer.name(s)
			}
		}
	}
	var wrong []error
	for _, s := range all {
		value := merged.Get(s.key)
		if err := s.set(&l.Config, value); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %q (%s) is not %w", s.key, s.shown(fmt.Sprint(value)), l.origin[s.key], err))
		}
	}
	return errors.Join(wrong...)
}

func readDefaults() (layer, error) {
	k := koanf.New(".")
	err := k.Load(structs.Provider(defaults(), "koanf"), nil)
	return layer{func(setting) string { return fromDefault }, k}, err
}

// readFile reads a YAML file. Keys that do not exist are an error: a misspelt setting must not be ignored in silence.
func readFile(name string, all []setting) (layer, error) {
	k := koanf.New(".")
	if err := k.Load(file.Provider(name), yaml.Parser()); err != nil {
		return layer{}, fmt.Errorf("configuration file %s: %w", name, err)
	}
	var wrong []error
	known := koanf.New(".")
	for _, key := range k.Keys() {
		value := k.Get(key)
		switch {
		case slices.ContainsFunc(all, func(s setting) bool { return s.key == key }):
			if value == nil {
				continue // "key:" with nothing behind it leaves the default
			}
			if err := known.Set(key, value); err != nil {
				return layer{}, fmt.Errorf("configuration file %s: %s: %w", name, key, err)
			}
		case isSection(key, all) && isEmpty(value):
		case isSection(key, all):
			wrong = append(wrong, fmt.Errorf("configuration file %s: %s is a section, which holds %s", name, key, strings.Join(under(key, all), ", ")))
		default:
			wrong = append(wrong, fmt.Errorf("configuration file %s: unknown key %s, did you mean %s?", name, key, nearest(key, all)))
		}
	}
	return layer{func(setting) string { return "file " + name }, known}, errors.Join(wrong...)
}

// readEnv reads the BERTH_ variables. An empty one counts as not set. One that is no setting is noted: Kubernetes makes
// BERTH_PORT and the like for a Service named berth.
func (l *loaded) readEnv(environ []string, all []setting) (layer, error) {
	byName := make(map[string]setting)
	for _, s := range all {
		byName[s.env] = s
	}
	k := koanf.New(".")
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			s, ok := byName[name]
			switch {
			case ok && value != "":
				return s.key, value
			case !ok && name != configEnv && !strings.HasPrefix(name, testPrefix):
				l.unknown = append(l.unknown, name)
			}
			return "", nil
		},
	}), nil)
	slices.Sort(l.unknown)
	return layer{func(s setting) string { return "variable " + s.env }, k}, err
}

// readFlags reads the flags that were given; what a flag shows as its default is not a value.
func readFlags(flags *pflag.FlagSet, all []setting) (layer, error) {
	byName := make(map[string]setting)
	for _, s := range all {
		byName[s.flag] = s
	}
	k := koanf.New(".")
	err := k.Load(posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
		return byName[f.Name].key, f.Value.String()
	}), nil)
	return layer{func(s setting) string { return "flag --" + s.flag }, k}, err
}

// lookup finds a variable in environ; the last one counts, as in the kernel's view of os.Environ.
func lookup(environ []string, name string) string {
	var value string
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

func isSection(key string, all []setting) bool { return len(under(key, all)) > 0 }

// under lists the keys of a section.
func under(section string, all []setting) []string {
	var keys []string
	for _, s := range all {
		if strings.HasPrefix(s.key, section+".") {
			keys = append(keys, s.key)
		}
	}
	return keys
}

func isEmpty(value any) bool {
	m, ok := value.(map[string]any)
	return value == nil || ok && len(m) == 0
}

// configFlags adds --config and one flag for each setting.
func configFlags(flags *pflag.FlagSet) {
	var keys []string
	for _, s := range settings() {
		keys = append(keys, s.key)
	}
	settingFlags(flags, keys...)
}

// settingFlags adds --config and a flag for each of the settings named.
func settingFlags(flags *pflag.FlagSet, keys ...string) {
	flags.String("config", "", "configuration file (YAML); also "+configEnv)
	c := defaults()
	for _, s := range settings() {
		if !slices.Contains(keys, s.key) {
			continue
		}
		f := flags.VarPF(&flagValue{text: s.text(&c), kind: s.kind()}, s.flag, "", s.doc)
		if f.Value.Type() == boolKind {
			f.NoOptDefVal = "true"
		}
	}
}

// flagValue is a flag's text; what it must be is checked with the rest of the configuration.
type flagValue struct{ text, kind string }

func (v *flagValue) String() string     { return v.text }
func (v *flagValue) Type() string       { return v.kind }
func (v *flagValue) Set(s string) error { v.text = s; return nil }

// loadFor reads the configuration for a command that has the flags of configFlags or settingFlags.
func loadFor(flags *pflag.FlagSet, environ []string) (*loaded, error) {
	name, err := flags.GetString("config")
	if err != nil {
		return nil, err
	}
	if flags.Changed("config") && name == "" {
		return nil, errors.New("--config wants the name of a file")
	}
	return load(sources{file: name, environ: environ, flags: flags})
}

// hostname is the machine's name, for messages.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown host"
	}
	return name
}
