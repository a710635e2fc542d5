package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Kind is where a bucket keeps its bytes. It is the scheme of the bucket's URL.
type Kind string

// The kinds of buckets.
const (
	Directory Kind = "file"
	Memory    Kind = "mem"
)

// KindOf returns the kind of a bucket's URL, and whether it is one of those above. It does not
// check the rest of the URL.
func KindOf(rawURL string) (kind Kind, known bool) {
	scheme, _, ok := strings.Cut(rawURL, "://")
	kind = Kind(scheme)
	return kind, ok && (kind == Directory || kind == Memory)
}

// Location is what a bucket's URL names.
type Location struct {
	Kind Kind
	Dir  string // the absolute path of a Directory
}

// ParseURL reads the URL of a bucket:
//
//   - file:///an/absolute/directory, or file://./a/relative/one
//   - mem://, a new and empty bucket in memory, for tests and demonstrations
//
// Parameters of the URL that ask for what the stores do anyway are accepted (metadata=skip,
// no_tmp_dir, create_dir; nomd5), any others are an error. Errors do not show the parameters'
// values.
func ParseURL(rawURL string) (Location, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return Location{}, fmt.Errorf("bucket: %w", err)
	}
	l := Location{Kind: Kind(u.Scheme)}
	switch l.Kind {
	case Directory:
		l.Dir, err = directory(u)
	case Memory:
		err = checkParameters(u, map[string]string{"nomd5": ""})
	default:
		err = fmt.Errorf("no bucket of the kind %q: use file:///directory or mem://", u.Scheme)
	}
	if err != nil {
		u.RawQuery = "" // there may be secrets
		return Location{}, fmt.Errorf("bucket: open %s: %w", u.Redacted(), err)
	}
	return l, nil
}

// FileURL returns the URL of the directory dir, which may be relative and have any characters.
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

// checkParameters refuses parameters that are not in known, or that have another value than known
// wants ("" takes any).
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
