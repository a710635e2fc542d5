package bucket

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseURLErrors(t *testing.T) {
	for rawURL, says := range map[string]string{
		"s3://bucket":          `"s3"`,
		"":                     `""`,
		"/a/directory":         "file:///directory",
		"://":                  "not a URL",
		"file:///%zz":          "%25",
		"file://u@/d":          "no user",
		"mem://name":           "no name",
		"file://":              "file:///path",
		"file:relative":        "file:///path",
		"file://data/blobs":    "file://./data/blobs",
		"file:///d?prefix=a/":  `"prefix"`,
		"file:///d?metadata=x": "metadata",
		"file:///d#e":          "%23",
		"mem://?prefix=a":      `"prefix"`,
		"file:///d?a=%zz":      "",
	} {
		if l, err := ParseURL(rawURL); err == nil {
			t.Errorf("%s is %+v", rawURL, l)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, without %s", rawURL, err, says)
		}
	}
	for _, rawURL := range []string{"file:///d?password=hidden", "file://u:hidden@/d", "file://hidden@/d", "s3://hidden@b", "file://u:hidden@/%zz"} {
		if _, err := ParseURL(rawURL); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("a secret: %v", err)
		}
	}
}

func wantLocation(t *testing.T, rawURL string, kind Kind, dir string) {
	t.Helper()
	if l, err := ParseURL(rawURL); err != nil || l.Kind != kind || l.Dir != dir {
		t.Errorf("%s: %+v, %v, want %s", rawURL, l, err, dir)
	}
	if got, known := KindOf(rawURL); got != kind || !known {
		t.Errorf("%s is of the kind %q, known %v", rawURL, got, known)
	}
}

func TestURLs(t *testing.T) {
	strange := filepath.Join(t.TempDir(), "a b%41?c=d#é&")
	u, err := FileURL(strange)
	if err != nil {
		t.Fatal(err)
	}
	wantLocation(t, u, Directory, strange)
	// The URL that gocloud's documentation recommends.
	wantLocation(t, u+"?metadata=skip&no_tmp_dir=1&create_dir=1", Directory, strange)
	wantLocation(t, "mem://?nomd5", Memory, "")
	for _, rawURL := range []string{"", "s3://bucket", "file:relative", "/a/directory"} {
		if kind, known := KindOf(rawURL); known {
			t.Errorf("%q is known as %q", rawURL, kind)
		}
	}

	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	wantLocation(t, "file://./data/blobs", Directory, filepath.Join(here, "data", "blobs"))
	if u, err := FileURL("data/blobs"); err != nil {
		t.Error(err)
	} else {
		wantLocation(t, u, Directory, filepath.Join(here, "data", "blobs"))
	}
}
