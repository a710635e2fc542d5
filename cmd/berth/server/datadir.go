package server

import (
	"fmt"
	"path/filepath"

	"github.com/berth-registry/berth/cmd/berth/config"
	"github.com/berth-registry/berth/internal/durable"
)

// MakeDataDirs makes the data directory and that of the database, durably and with access for the
// owner alone.
func MakeDataDirs(l *config.Loaded) error {
	for _, dir := range []string{l.Data, filepath.Dir(l.DatabaseFile)} {
		if err := durable.MakeDir(dir, 0o700); err != nil {
			return fmt.Errorf("making the data directory: %w", err)
		}
	}
	return nil
}
