package bucket

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// cloudParameters are the parameters of the URLs of object stores, with what they set. None holds a
// secret: the SDKs find credentials in the environment.
var cloudParameters = map[Kind]map[string]func(l *Location, value string) error{
	S3: {
		"prefix": (*Location).setPrefix, "endpoint": (*Location).setEndpoint,
		"region": (*Location).setRegion, "accelerate": (*Location).setAccelerate,
		"public_endpoint": (*Location).setPublicEndpoint,
	},
	GCS:   {"prefix": (*Location).setPrefix, "endpoint": (*Location).setEndpoint},
	Azure: {"prefix": (*Location).setPrefix, "endpoint": (*Location).setEndpoint},
}

var (
	// bucketName matches the names of buckets and containers, old ones of S3 included.
	bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]$`)
	regionName = regexp.MustCompile(`^[a-z0-9-]+$`)
	prefixName = regexp.MustCompile(`^([A-Za-z0-9_-][A-Za-z0-9._-]*/)+$`)
)

// parseCloud parses the URL of a bucket in an object store. Its errors have no value of a
// parameter, which may be a secret.
func (l *Location) parseCloud(u *url.URL) error {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("the parameters after ? are malformed")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		values := query[name]
		set, known := cloudParameters[l.Kind][name]
		switch {
		case !known && isSecret(name):
			return fmt.Errorf(
				"the parameter %q is refused: credentials are not part of the URL, but in the variables or "+
					"files of the cloud's SDK",
				name)
		case !known:
			return fmt.Errorf("the parameter %q is not supported", name)
		case len(values) > 1:
			return fmt.Errorf("the parameter %s is there twice", name)
		}
		if err := set(l, values[0]); err != nil {
			return err
		}
	}
	l.Bucket = u.Host
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return errors.New("there is a path after the bucket's name: write it as ?prefix=path/")
	}
	if !bucketName.MatchString(l.Bucket) {
		return fmt.Errorf("%q is not the name of a bucket", l.Bucket)
	}
	if l.Accelerate && l.Endpoint+l.PublicEndpoint != "" {
		return errors.New("accelerate is for AWS alone, and endpoint and public_endpoint for other stores")
	}
	return nil
}

// isSecret reports whether a parameter seems to be for credentials.
func isSecret(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"key", "secret", "token", "password", "sas", "credential", "profile"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func (l *Location) setPrefix(value string) error {
	if !prefixName.MatchString(value) || len(value) > 256 {
		return errors.New("prefix wants names that each end with a slash, such as registry/ or team/registry/")
	}
	l.Prefix = value
	return nil
}

func (l *Location) setRegion(value string) error {
	if !regionName.MatchString(value) {
		return errors.New("region wants the name of a region, such as eu-west-1")
	}
	l.Region = value
	return nil
}

func (l *Location) setAccelerate(value string) error {
	l.Accelerate = value == "true"
	if !l.Accelerate && value != "false" {
		return errors.New("accelerate wants true or false")
	}
	return nil
}

func (l *Location) setEndpoint(value string) (err error) {
	l.Endpoint, err = parseEndpoint("endpoint", value)
	return err
}

func (l *Location) setPublicEndpoint(value string) (err error) {
	l.PublicEndpoint, err = parseEndpoint("public_endpoint", value)
	return err
}

// parseEndpoint returns the URL of a service without a slash at its end.
func parseEndpoint(name, value string) (string, error) {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%s wants a URL without user and parameters, such as https://minio.example:9000", name)
	}
	return strings.TrimSuffix(value, "/"), nil
}
