package main

import (
	"github.com/spf13/pflag"

	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/internal/db/sqlite"
)

// loaded is a configuration as the commands have it.
type loaded = config.Loaded

// loadFor reads the configuration for a command that has flags of config.AddFlags.
func loadFor(flags *pflag.FlagSet, environ []string) (*loaded, error) {
	return config.Load(flags, environ, config.Engines{DatabaseFile: sqlite.ParseURL})
}
