package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Kind is a kind of bucket. It is the scheme of the bucket's URL.
type Kind string

// The kinds of buckets.
const (
	Directory Kind = "file"
	Memory    Kind = "mem"
	S3        Kind = "s3"     // also of stores with the same protocol
	GCS       Kind = "gs"     // Google Cloud Storage
	Azure     Kind = "azblob" // Azure Blob Storage
)

// Examples names a URL of each kind, for errors.
const Examples = "file:///directory, s3://bucket, gs://bucket, azblob://container or mem://"

// KindOf returns the scheme of a bucket's URL as a Kind. known reports whether it is one of the
// kinds above. The rest of the URL is not checked.
func KindOf(rawURL string) (kind Kind, known bool) {
	scheme, _, ok := strings.Cut(rawURL, "://")
	kind = Kind(scheme)
	return kind, ok && (kind == Directory || kind == Memory || kind.IsCloud())
}

// IsCloud reports whether a bucket of this kind is in an object store.
func (k Kind) IsCloud() bool { return k == S3 || k == GCS || k == Azure }

// Location is a parsed URL of a bucket.
type Location struct {
	Kind Kind
	Dir  string // the absolute path, if Kind is Directory

	// The fields below are for object stores. An empty one stands for what the SDK has.
	Bucket     string // bucket or container
	Prefix     string // of the names of all objects; it ends with a slash
	Region     string
	Endpoint   string // URL of the service
	Accelerate bool   // by S3 Transfer Acceleration

	// PublicEndpoint is the URL of the service as clients reach it, for signed URLs.
	PublicEndpoint string
}

// ParseURL parses the URL of a bucket:
//
//   - file:///an/absolute/directory, or file://./a/relative/one
//   - mem://, a new and empty bucket in memory, for tests and demonstrations
//   - s3://bucket, gs://bucket or azblob://container
//
// Object stores have the parameters endpoint and prefix, and S3 also region, public_endpoint and
// accelerate=true.
// Parameters of gocloud's URLs that ask for what Berth always does are accepted: metadata=skip,
// no_tmp_dir and create_dir for file, nomd5 for mem. Any others are an error, and so is a user.
// Errors contain neither the user nor the values of parameters.
func ParseURL(rawURL string) (Location, error) {
	u, err := url.Parse(rawURL)
	if err != nil { // err itself has the whole URL
		return Location{}, errors.New(
			"bucket: not a URL such as file:///directory or mem://, in which %, # and ? of a name are %25, %23 and %3F")
	}
	l := Location{Kind: Kind(u.Scheme)}
	switch l.Kind {
	case Directory:
		l.Dir, err = directory(u)
	case Memory:
		err = checkParameters(u, map[string]string{"nomd5": ""})
		if err == nil && u.Host+u.Path+u.Fragment != "" {
			err = errors.New("a bucket in memory has no name: expected mem://")
		}
	case S3, GCS, Azure:
		err = l.parseCloud(u)
	default:
		err = fmt.Errorf("no bucket of the kind %q: use %s", u.Scheme, Examples)
	}
	if err == nil && u.User != nil {
		err = errors.New("a bucket's URL has no user: credentials are not part of it")
	}
	if err != nil {
		u.RawQuery, u.User = "", nil // they may contain secrets
		return Location{}, fmt.Errorf("bucket: open %s: %w", u, err)
	}
	return l, nil
}

// FileURL returns the URL of the directory dir, which may be relative and contain any characters.
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
	// gocloud needs these parameters; Berth always does what they ask for.
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
		// gocloud ignores the host: it would read file://data/blobs as /blobs.
		return "", fmt.Errorf("%q is where a host would be: write file:///%[1]s%s, or file://./%[1]s%[2]s for a relative directory", u.Host, u.Path)
	}
	if path == "" || u.Fragment != "" {
		return "", errors.New("the URL of a directory is file:///path, with # and ? written as %23 and %3F")
	}
	return filepath.Abs(filepath.FromSlash(path))
}

// checkParameters returns an error if a parameter of u is not in known, or has another value than
// in known, where "" stands for any value.
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
