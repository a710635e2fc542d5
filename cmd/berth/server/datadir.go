package server

import (
	"fmt"
	"path/filepath"

	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/internal/durable"
)

// MakeDataDirs makes the data directory and that of a database in a file, durably and with access
// for the owner alone.
func MakeDataDirs(l *config.Loaded) error {
	dirs := []string{l.Data}
	if l.DatabaseFile != "" {
		dirs = append(dirs, filepath.Dir(l.DatabaseFile))
	}
	for _, dir := range dirs {
		if err := durable.MakeDir(dir, 0o700); err != nil {
			return fmt.Errorf("making the data directory: %w", err)
		}
	}
	return nil
}
