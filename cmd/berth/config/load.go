package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
)

// Variables that have the prefix but are not settings.
const (
	configEnv  = envPrefix + "CONFIG" // the configuration file, unless --config is given
	testPrefix = envPrefix + "TEST_"  // for the project's tests
)

// Loaded is a configuration with what follows from it.
type Loaded struct {
	Config

	// DatabaseFile is the absolute path of the database, or "" if it is not in a file.
	DatabaseFile string
	// Proxies are the networks of http.trusted_proxies.
	Proxies []netip.Prefix
	// RedirectNetworks are the networks of storage.redirect.networks.
	RedirectNetworks []netip.Prefix
	// Unknown are the names of variables that have the prefix BERTH_ but are not known.
	Unknown []string

	origin map[string]string // by key
}

// FromDefault is the origin of a setting that is not set.
const FromDefault = "default"

// Origin returns the source of a setting's value: FromDefault, "file x.yaml", "variable BERTH_X" or
// "flag --x".
func (l *Loaded) Origin(key string) string { return l.origin[key] }

// layer is the settings of one source. A value has a type of YAML, or is text.
type layer struct {
	name   func(Setting) string
	values *koanf.Koanf
}

// Load reads the configuration of a command that has the flags of AddFlags: defaults, then the
// file, then the environment, then the flags that were given. Later sources win. The error has one
// line for each mistake, with secrets masked. With an error, the settings that could be read are
// returned too: log.format says how to report it.
func Load(flags *pflag.FlagSet, environ []string) (*Loaded, error) {
	l := &Loaded{origin: make(map[string]string)}
	if err := l.load(flags, environ); err != nil {
		return l, err
	}
	return l, l.resolve()
}

// load reads the settings of all sources.
func (l *Loaded) load(flags *pflag.FlagSet, environ []string) error {
	all := Settings()
	name, wrongName := fileName(flags, environ)
	defaultLayer, wrongDefaults := readDefaults()
	fileLayer, wrongFile := readFile(name, all)
	envLayer, wrongEnv := l.readEnv(environ, all)
	flagLayer, wrongFlags := readFlags(flags, all)
	return errors.Join(wrongName, wrongDefaults, wrongFile, wrongEnv, wrongFlags,
		l.merge([]layer{defaultLayer, fileLayer, envLayer, flagLayer}, all))
}

// fileName returns the name of the configuration file, from --config or BERTH_CONFIG, or "".
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

// merge merges the layers and fills Config with the result.
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
			continue
		}
		if item, err := s.checkTexts(&l.Config); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %q (%s) %w", s.Key, s.mask(item), l.origin[s.Key], err))
		}
	}
	return errors.Join(wrong...)
}

func readDefaults() (layer, error) {
	k := koanf.New(".")
	err := k.Load(structs.Provider(defaults(), "koanf"), nil)
	return layer{func(Setting) string { return FromDefault }, k}, err
}

// readEnv reads the BERTH_ variables. An empty variable is not set. Unknown ones are only recorded,
// because Kubernetes sets BERTH_PORT and similar variables for a Service named berth.
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

// readFlags reads the flags that were given. Defaults of flags are not values.
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

// Lookup returns the value of a variable in environ, which has the form of os.Environ, or "". If a
// variable occurs several times, the last one counts.
func Lookup(environ []string, name string) string {
	var value string
	for _, entry := range environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
}
