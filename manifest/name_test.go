package manifest

import (
	"errors"
	"strings"
	"testing"
)

const (
	hex64  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	dig256 = "sha256:" + hex64
	dig512 = "sha512:" + hex64 + hex64
)

func TestCheckName(t *testing.T) {
	good := []string{
		"a", "0", "library/alpine", "a/b/c/d/e/f", "a.b", "a_b", "a__b", "a-b", "a---b",
		"localhost", "example.com/a", "a/sha256", "r.invalid/a", strings.Repeat("a", 255),
		strings.TrimSuffix(strings.Repeat("a/", 128), "/"),
	}
	for _, name := range good {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	bad := []string{
		"", "/", "/a", "a/", "a//b", "A", "a/B", "Library/alpine", "a.", ".a", "a..b", "a/../b", "..", ".",
		"a___b", "_a", "a_", "-a", "a-", "a._b", "a b", "a%2fb", "a:b", "localhost:5000/a", "a@b", "a;b",
		"a\n", "a\x00", "ä", "ｅ", "a/b:tag", "a@" + dig256, strings.Repeat("a", 256), strings.Repeat("a", 1<<20),
	}
	for _, name := range bad {
		err := CheckName(name)
		if !errors.Is(err, ErrNameInvalid) {
			t.Errorf("%.20q: got %v, want ErrNameInvalid", name, err)
			continue
		}
		if len(err.Error()) > 1000 {
			t.Errorf("%.20q: the message has %d bytes", name, len(err.Error()))
		}
	}
}

func TestCheckTag(t *testing.T) {
	for _, tag := range []string{"a", "A", "_", "0", "latest", "v1.2.3-rc.1", "a..b", "a--", "__", "_.-", strings.Repeat("x", 128)} {
		if err := CheckTag(tag); err != nil {
			t.Errorf("%q: %v", tag, err)
		}
	}
	for _, tag := range []string{"", ".a", "-a", ".", "..", "a b", "a/b", "a:b", "a+b", "ä", "a\n", "a\x00", strings.Repeat("x", 129)} {
		if err := CheckTag(tag); !errors.Is(err, ErrTagInvalid) {
			t.Errorf("%q: got %v, want ErrTagInvalid", tag, err)
		}
	}
}

func TestParseDigest(t *testing.T) {
	for _, s := range []string{dig256, dig512} {
		d, err := ParseDigest(s)
		if err != nil || d.String() != s || d.Validate() != nil {
			t.Errorf("%s: %v, %v", s, d, err)
		}
	}
	bad := map[string]string{
		"":                             "not a digest",
		"sha256":                       "not a digest",
		hex64:                          "not a digest",
		":" + hex64:                    `algorithm ""`,
		"sha256:":                      "0 digits",
		"sha256:baddigest":             "9 digits after the colon, expected 64",
		"sha256:" + hex64[1:]:          "63 digits",
		dig256 + "0":                   "65 digits",
		"sha256:" + hex64 + hex64:      "128 digits",
		"sha512:" + hex64:              "64 digits after the colon, expected 128",
		"SHA256:" + hex64:              "expected sha256 or sha512",
		strings.ToUpper(dig256):        "expected sha256 or sha512",
		"sha256:" + hex64[1:] + "A":    "lower-case",
		"sha256:" + hex64[1:] + "g":    "lower-case",
		"sha256:" + hex64[1:] + "\n":   "lower-case",
		"sha384:" + hex64 + hex64[32:]: "expected sha256 or sha512",
		"md5:" + hex64[32:]:            "expected sha256 or sha512",
		"sha256+b64:" + hex64:          "expected sha256 or sha512",
	}
	for s, want := range bad {
		d, err := ParseDigest(s)
		if !errors.Is(err, ErrDigestInvalid) || !strings.Contains(err.Error(), want) || d != "" {
			t.Errorf("%q: got %q, %v, want ErrDigestInvalid with %q", s, d, err, want)
		}
	}
	if _, err := ParseAlgorithm("sha384"); !errors.Is(err, ErrDigestInvalid) {
		t.Errorf("sha384: got %v, want ErrDigestInvalid", err)
	}
}

func TestParseReference(t *testing.T) {
	if r, err := ParseReference("latest"); err != nil || r != (Reference{Tag: "latest"}) || r.String() != "latest" {
		t.Errorf("latest: %+v, %v", r, err)
	}
	if r, err := ParseReference(dig512); err != nil || r != (Reference{Digest: dig512}) || r.String() != dig512 {
		t.Errorf("%s: %+v, %v", dig512, r, err)
	}
	if r, err := ParseReference("sha256:baddigest"); !errors.Is(err, ErrDigestInvalid) || r != (Reference{}) {
		t.Errorf("sha256:baddigest: %+v, %v, want ErrDigestInvalid", r, err)
	}
	if r, err := ParseReference(".INVALID_MANIFEST_NAME"); !errors.Is(err, ErrTagInvalid) || r != (Reference{}) {
		t.Errorf(".INVALID_MANIFEST_NAME: %+v, %v, want ErrTagInvalid", r, err)
	}
}

func TestError(t *testing.T) {
	err := error(Errorf(ErrTagInvalid, "tag %q", "x"))
	if err.Error() != `tag "x"` || !errors.Is(err, ErrTagInvalid) || errors.Is(err, ErrNameInvalid) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkCheckName(b *testing.B) {
	for b.Loop() {
		if err := CheckName("team/project/application"); err != nil {
			b.Fatal(err)
		}
	}
}
