package manifest

import (
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

const (
	maxName = 255
	maxTag  = 128
)

// CheckName returns nil if s is the name of a repository: components of lower-case letters, digits
// and single separators, joined by slashes, at most 255 characters in all (distribution spec,
// "Pulling manifests"). The error is ErrNameInvalid.
func CheckName(s string) error {
	if len(s) > maxName {
		return Errorf(ErrNameInvalid, "repository name has %d characters, at most %d are allowed", len(s), maxName)
	}
	if isPlainName(s) {
		return nil
	}
	// WithName would take a first component with an upper-case letter, a dot or a colon for the
	// host of a registry.
	named, err := reference.WithName("r.invalid/" + s)
	if err != nil || reference.Path(named) != s {
		return Errorf(ErrNameInvalid, "%q is not a repository name: expected components of a-z and 0-9, separated inside by one of . _ __ or dashes, joined by /", s)
	}
	return nil
}

// isPlainName reports whether s is a name whose separators are single characters, as in nearly all
// names. It saves each request the regular expressions of WithName, which decides the rest.
func isPlainName(s string) bool {
	separator := true // the character before
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
		if !alphanumeric && (separator || c != '/' && c != '.' && c != '_' && c != '-') {
			return false
		}
		separator = !alphanumeric
	}
	return !separator
}

// CheckTag returns nil if s is a tag. The error is ErrTagInvalid.
func CheckTag(s string) error {
	if len(s) > maxTag {
		return Errorf(ErrTagInvalid, "tag has %d characters, at most %d are allowed", len(s), maxTag)
	}
	if s == "" {
		return Errorf(ErrTagInvalid, "the tag is empty")
	}
	for i := range len(s) {
		c := s[i]
		word := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
		if !word && (i == 0 || c != '.' && c != '-') {
			return Errorf(ErrTagInvalid, "%q is not a tag: expected a letter, digit or _, then letters, digits, . _ or -", s)
		}
	}
	return nil
}

// ParseDigest parses a digest: "sha256:" or "sha512:" and lower-case hexadecimal digits. The error
// is ErrDigestInvalid.
func ParseDigest(s string) (digest.Digest, error) {
	name, hex, found := strings.Cut(s, ":")
	if !found {
		return "", Errorf(ErrDigestInvalid, "%s is not a digest: expected sha256:<64 hexadecimal digits>", quoteShort(s))
	}
	algorithm, err := ParseAlgorithm(name)
	if err != nil {
		return "", err
	}
	if n := algorithm.Size() * 2; len(hex) != n {
		return "", Errorf(ErrDigestInvalid, "digest %s has %d digits after the colon, expected %d", quoteShort(s), len(hex), n)
	}
	for i := range len(hex) {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", Errorf(ErrDigestInvalid, "digest %q is not in lower-case hexadecimal", s)
		}
	}
	return digest.Digest(s), nil
}

// ParseAlgorithm parses the name of a digest algorithm: sha256 or sha512. The error is
// ErrDigestInvalid.
func ParseAlgorithm(s string) (digest.Algorithm, error) {
	switch a := digest.Algorithm(s); a {
	case digest.SHA256, digest.SHA512:
		return a, nil
	}
	return "", Errorf(ErrDigestInvalid, "digest algorithm %s is not supported: expected sha256 or sha512", quoteShort(s))
}

// Reference names a manifest in a request, by tag or by digest. Exactly one of the fields is set.
type Reference struct {
	Tag    string
	Digest digest.Digest
}

// ParseReference parses a reference: a digest if s contains a colon (ErrDigestInvalid), else a tag
// (ErrTagInvalid).
func ParseReference(s string) (Reference, error) {
	if strings.Contains(s, ":") {
		d, err := ParseDigest(s)
		return Reference{Digest: d}, err
	}
	if err := CheckTag(s); err != nil {
		return Reference{}, err
	}
	return Reference{Tag: s}, nil
}

// String returns the tag or the digest.
func (r Reference) String() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}
