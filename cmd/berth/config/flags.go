package config

import (
	"slices"

	"github.com/spf13/pflag"
)

// fileFlag names the configuration file.
const fileFlag = "config"

// AddFlags adds --config and the flags of the settings with the given keys, or of all settings if
// there are no keys.
func AddFlags(flags *pflag.FlagSet, keys ...string) {
	flags.String(fileFlag, "", "configuration file (YAML); also "+configEnv)
	for _, s := range Settings() {
		if len(keys) > 0 && !slices.Contains(keys, s.Key) {
			continue
		}
		f := flags.VarPF(&flagValue{text: s.Default, kind: s.kind()}, s.Flag, "", s.Doc)
		if f.Value.Type() == boolKind {
			f.NoOptDefVal = "true"
		}
	}
}

// flagValue is the text of a flag. Load checks it with the rest of the configuration.
type flagValue struct {
	text, kind string
	given      bool
}

func (v *flagValue) String() string { return v.text }
func (v *flagValue) Type() string   { return v.kind }

// Set sets the text. A list that is given again grows.
func (v *flagValue) Set(s string) error {
	if v.given && v.kind == listKind {
		s = v.text + "," + s
	}
	v.text, v.given = s, true
	return nil
}
