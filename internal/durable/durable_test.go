package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestMakeDir(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "a", "b", "c")
	for range 2 {
		if err := MakeDir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for dir := path; dir != root; dir = filepath.Dir(dir) {
		wantMode(t, dir, 0o700)
	}
	if err := os.Chmod(path, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := MakeDir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	wantMode(t, path, 0o750) // as it was
}

func wantMode(t *testing.T, dir string, mode fs.FileMode) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() || runtime.GOOS != "windows" && info.Mode().Perm() != mode {
		t.Errorf("%s: %v, %v, want a directory of mode %v", dir, info, err, mode)
	}
}

func TestMakeDirRefusesAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const says = "there is a file of that name, not a directory"
	if err := MakeDir(file, 0o700); err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("a file in the way: %v", err)
	}
	if err := MakeDir(filepath.Join(file, "below"), 0o700); err == nil {
		t.Error("a file above it: no error")
	}
}

func TestMakeDirsIn(t *testing.T) {
	root := t.TempDir()
	names := []string{"a", "b", "c"}
	if err := os.Mkdir(filepath.Join(root, "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := MakeDirsIn(root, slices.Values(names), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	wantMode(t, filepath.Join(root, "a"), 0o750)
	wantMode(t, filepath.Join(root, "b"), 0o700) // as it was
	wantMode(t, filepath.Join(root, "c"), 0o750)
	if err := MakeDirsIn(filepath.Join(root, "none"), slices.Values(names), 0o750); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a parent: %v", err)
	}
}

func TestPublishNew(t *testing.T) {
	dir := t.TempDir()
	temp, file := filepath.Join(dir, "temp"), filepath.Join(dir, "file")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	if err := PublishNew(temp, file); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(temp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary name: %v", err)
	}
	write("second")
	if err := PublishNew(temp, file); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over another file: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "first" {
		t.Errorf("%q, %v, want the first text", text, err)
	}
	if err := PublishNew(filepath.Join(dir, "none"), filepath.Join(dir, "other")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}
