package config

import (
	"errors"
	"fmt"
	"net/netip"
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

// Loaded is a configuration, what follows from it, and what is worth telling about it.
type Loaded struct {
	Config

	// DatabaseFile is the absolute path of the database, "" when it is in memory.
	DatabaseFile string
	// Proxies are the networks of http.trusted_proxies.
	Proxies []netip.Prefix
	// Unknown are the names of variables that look like ours and are not.
	Unknown []string

	origin map[string]string // by key
}

// FromDefault is the origin of a setting that was not set.
const FromDefault = "default"

// Origin returns where a setting comes from: FromDefault, "file x.yaml", "variable BERTH_X" or
// "flag --x".
func (l *Loaded) Origin(key string) string { return l.origin[key] }

// layer is one source's settings. Its values are what the source has: YAML's types, or text.
type layer struct {
	name   func(Setting) string
	values *koanf.Koanf
}

// Load reads the configuration for a command whose flags AddFlags made: defaults, then the file,
// then the environment, then the flags that were given; later ones win. Everything that is wrong
// with it is in the error, one line each, with secrets masked.
func Load(flags *pflag.FlagSet, environ []string) (*Loaded, error) {
	name, err := fileName(flags, environ)
	if err != nil {
		return nil, err
	}
	l := &Loaded{origin: make(map[string]string)}
	all := Settings()
	defaultLayer, err := readDefaults()
	if err != nil {
		return nil, err
	}
	layers := []layer{defaultLayer}
	if name != "" {
		fileLayer, err := readFile(name, all)
		if err != nil {
			return nil, err
		}
		layers = append(layers, fileLayer)
	}
	envLayer, err := l.readEnv(environ, all)
	if err != nil {
		return nil, err
	}
	flagLayer, err := readFlags(flags, all)
	if err != nil {
		return nil, err
	}
	if err := l.merge(append(layers, envLayer, flagLayer), all); err != nil {
		return nil, err
	}
	return l, l.resolve()
}

// fileName returns the name of the configuration file: that of --config or BERTH_CONFIG, or "".
func fileName(flags *pflag.FlagSet, environ []string) (string, error) {
	name, err := flags.GetString(fileFlag)
	switch {
	case err != nil:
		return "", err
	case flags.Changed(fileFlag) && name == "":
		return "", errors.New("--config wants the name of a file")
	case name == "":
		return Lookup(environ, configEnv), nil
	}
	return name, nil
}

// merge lays the layers over each other and fills Config from what comes out.
func (l *Loaded) merge(layers []layer, all []Setting) error {
	merged := koanf.New(".")
	for _, layer := range layers {
		if err := merged.Merge(layer.values); err != nil {
			return fmt.Errorf("reading the configuration: %w", err)
		}
		for _, s := range all {
			if layer.values.Get(s.Key) != nil {
				l.origin[s.Key] = layer.name(s)
			}
		}
	}
	var wrong []error
	for _, s := range all {
		value := merged.Get(s.Key)
		if err := s.set(&l.Config, value); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %q (%s) is not %w", s.Key, s.mask(fmt.Sprint(value)), l.origin[s.Key], err))
		}
	}
	return errors.Join(wrong...)
}

func readDefaults() (layer, error) {
	k := koanf.New(".")
	err := k.Load(structs.Provider(defaults(), "koanf"), nil)
	return layer{func(Setting) string { return FromDefault }, k}, err
}

// readFile reads a YAML file. Keys that do not exist are an error: a misspelt setting must not be
// ignored in silence.
func readFile(name string, all []Setting) (layer, error) {
	k := koanf.New(".")
	if err := k.Load(file.Provider(name), yaml.Parser()); err != nil {
		return layer{}, fmt.Errorf("configuration file %s: %w", name, err)
	}
	var wrong []error
	known := koanf.New(".")
	for _, key := range k.Keys() {
		value := k.Get(key)
		switch {
		case slices.ContainsFunc(all, func(s Setting) bool { return s.Key == key }):
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
	return layer{func(Setting) string { return "file " + name }, known}, errors.Join(wrong...)
}

// readEnv reads the BERTH_ variables. An empty one counts as not set. One that is no setting is
// noted: Kubernetes makes BERTH_PORT and the like for a Service named berth.
func (l *Loaded) readEnv(environ []string, all []Setting) (layer, error) {
	byName := make(map[string]Setting)
	for _, s := range all {
		byName[s.Env] = s
	}
	k := koanf.New(".")
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			s, ok := byName[name]
			switch {
			case ok && value != "":
				return s.Key, value
			case !ok && name != configEnv && !strings.HasPrefix(name, testPrefix):
				l.Unknown = append(l.Unknown, name)
			}
			return "", nil
		},
	}), nil)
	slices.Sort(l.Unknown)
	return layer{func(s Setting) string { return "variable " + s.Env }, k}, err
}

// readFlags reads the flags that were given; what a flag shows as its default is not a value.
func readFlags(flags *pflag.FlagSet, all []Setting) (layer, error) {
	byName := make(map[string]Setting)
	for _, s := range all {
		byName[s.Flag] = s
	}
	k := koanf.New(".")
	err := k.Load(posflag.ProviderWithFlag(flags, ".", nil, func(f *pflag.Flag) (string, any) {
		return byName[f.Name].Key, f.Value.String()
	}), nil)
	return layer{func(s Setting) string { return "flag --" + s.Flag }, k}, err
}

// Lookup returns the value of a variable in environ, which has the form of os.Environ, or "". The
// last one counts, as in the kernel's view.
func Lookup(environ []string, name string) string {
	var value string
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}

func isSection(key string, all []Setting) bool { return len(under(key, all)) > 0 }

// under lists the keys of a section.
func under(section string, all []Setting) []string {
	var keys []string
	for _, s := range all {
		if strings.HasPrefix(s.Key, section+".") {
			keys = append(keys, s.Key)
		}
	}
	return keys
}

func isEmpty(value any) bool {
	m, ok := value.(map[string]any)
	return value == nil || ok && len(m) == 0
}
