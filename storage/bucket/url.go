package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// FileURL returns the URL by which Open opens the directory dir, which may be relative and have any characters.
func FileURL(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") { // c:/dir
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", Path: path}).String(), nil
}

// directory returns the absolute path that a file:// URL names.
func directory(u *url.URL) (string, error) {
	// What gocloud's own opener needs to be told, and what this package does in any case.
	err := checkParameters(u, map[string]string{"metadata": "skip", "no_tmp_dir": "", "create_dir": ""})
	if err != nil {
		return "", err
	}
	path := u.Path
	switch u.Host {
	case ".":
		path = strings.TrimPrefix(path, "/")
	case "", "localhost":
		if os.PathSeparator != '/' {
			path = strings.TrimPrefix(path, "/")
		}
	default:
		// gocloud ignores the host, so that file://data/blobs would be /blobs.
		return "", fmt.Errorf("%q is where a host would be: write file:///%[1]s%s, or file://./%[1]s%[2]s for a relative directory", u.Host, u.Path)
	}
	if path == "" || u.Fragment != "" {
		return "", errors.New("the URL of a directory is file:///path, with # and ? written as %23 and %3F")
	}
	return filepath.Abs(filepath.FromSlash(path))
}

// checkParameters refuses parameters that are not in known, or that have another value than known wants ("" takes any).
func checkParameters(u *url.URL, known map[string]string) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return err
	}
	for name, values := range query {
		want, ok := known[name]
		if !ok {
			return fmt.Errorf("the parameter %q is not supported", name)
		}
		if want != "" && values[0] != want {
			return fmt.Errorf("the parameter %s must be %q", name, want)
		}
	}
	return nil
}
