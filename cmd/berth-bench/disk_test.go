package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTruncateLargeFiles(t *testing.T) {
	dir := t.TempDir()
	large, small := filepath.Join(dir, "a", "large"), filepath.Join(dir, "a", "small")
	if err := os.Mkdir(filepath.Dir(large), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, size := range map[string]int64{large: 1 << 20, small: 1<<20 - 1} {
		if err := os.WriteFile(path, make([]byte, size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := truncateLargeFiles(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int64{large: 0, small: 1<<20 - 1} {
		if info, err := os.Stat(path); err != nil || info.Size() != want {
			t.Errorf("%s: %v, %v; want %d bytes", path, info, err, want)
		}
	}
	if err := truncateLargeFiles(filepath.Join(dir, "never made")); err != nil {
		t.Errorf("without a directory: %v", err)
	}
}
