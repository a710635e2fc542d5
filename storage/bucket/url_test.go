package bucket

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseURLErrors(t *testing.T) {
	for rawURL, says := range map[string]string{
		"ftp://bucket":                    `"ftp"`,
		"s3://":                           "name of a bucket",
		"s3://a b":                        "not a URL",
		"s3://-":                          "name of a bucket",
		"s3://bucket/path":                "?prefix=path/",
		"s3://bucket?Region=x":            `"Region" is not supported`,
		"s3://bucket?region=eu&region=us": "twice",
		"s3://bucket?region=EU West":      "eu-west-1",
		"s3://bucket?prefix=a":            "registry/",
		"s3://bucket?prefix=../":          "registry/",
		"s3://bucket?prefix=/":            "registry/",
		"s3://bucket?accelerate=yes":      "true or false",
		"s3://bucket?accelerate=true&endpoint=https://e":        "AWS alone",
		"s3://bucket?endpoint=minio:9000":                       "https://minio.example:9000",
		"s3://bucket?endpoint=ftp://e":                          "https://minio.example:9000",
		"s3://bucket?endpoint=https://e?x=1":                    "https://minio.example:9000",
		"s3://bucket?accelerate=true&public_endpoint=https://e": "AWS alone",
		"s3://bucket?public_endpoint=s3.example":                "public_endpoint wants",
		"gs://bucket?public_endpoint=https://e":                 `"public_endpoint" is not supported`,
		"s3://bucket?access_key=a":                              `"access_key" is refused`,
		"s3://bucket?aws_secret=a":                              "credentials are not part of the URL",
		"gs://bucket?region=eu":                                 `"region" is not supported`,
		"gs://bucket?key=a":                                     `"key" is refused`,
		"azblob://":                                             "name of a bucket",
		"azblob://box?sas=a":                                    `"sas" is refused`,
		"azblob://box?accelerate=true":                          `"accelerate" is not supported`,
		"s3://bucket?%zz":                                       "malformed",
		"":                                                      `""`,
		"/a/directory":                                          "file:///directory",
		"://":                                                   "not a URL",
		"file:///%zz":                                           "%25",
		"file://u@/d":                                           "no user",
		"mem://name":                                            "no name",
		"file://":                                               "file:///path",
		"file:relative":                                         "file:///path",
		"file://data/blobs":                                     "file://./data/blobs",
		"file:///d?prefix=a/":                                   `"prefix"`,
		"file:///d?metadata=x":                                  "metadata",
		"file:///d#e":                                           "%23",
		"mem://?prefix=a":                                       `"prefix"`,
		"file:///d?a=%zz":                                       "",
	} {
		if l, err := ParseURL(rawURL); err == nil {
			t.Errorf("%s is %+v", rawURL, l)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, without %s", rawURL, err, says)
		}
	}
	for _, rawURL := range []string{"file:///d?password=hidden", "file://u:hidden@/d", "file://hidden@/d", "s3://hidden@b", "file://u:hidden@/%zz",
		"s3://bucket?secret_key=hidden", "s3://bucket?endpoint=https://u:hidden@e", "s3://bucket?region=hidden!", "s3://bucket?public_endpoint=https://u:hidden@e", "s3://bucket?x=hidden&%zz"} {
		if _, err := ParseURL(rawURL); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("a secret: %v", err)
		}
	}
}

func TestCloudURLs(t *testing.T) {
	for rawURL, want := range map[string]Location{
		"s3://bucket":           {Kind: S3, Bucket: "bucket"},
		"gs://bucket?prefix=a/": {Kind: GCS, Bucket: "bucket", Prefix: "a/"},
		"azblob://box?endpoint=https://acc.blob.core.windows.net": {Kind: Azure, Bucket: "box", Endpoint: "https://acc.blob.core.windows.net"},
		"s3://My_Old.bucket/": {Kind: S3, Bucket: "My_Old.bucket"},
		"s3://bucket?region=eu-west-1&accelerate=true&prefix=a/b-c/":                {Kind: S3, Bucket: "bucket", Region: "eu-west-1", Accelerate: true, Prefix: "a/b-c/"},
		"s3://bucket?endpoint=http://127.0.0.1:9000/&accelerate=false":              {Kind: S3, Bucket: "bucket", Endpoint: "http://127.0.0.1:9000"},
		"s3://bucket?endpoint=http://minio:9000&public_endpoint=https://s3.example": {Kind: S3, Bucket: "bucket", Endpoint: "http://minio:9000", PublicEndpoint: "https://s3.example"},
	} {
		if l, err := ParseURL(rawURL); err != nil || l != want {
			t.Errorf("%s: %+v, %v", rawURL, l, err)
		}
		if kind, known := KindOf(rawURL); kind != want.Kind || !known || !kind.IsCloud() {
			t.Errorf("%s is of the kind %q, known: %v", rawURL, kind, known)
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
	for _, rawURL := range []string{"", "ftp://bucket", "file:relative", "/a/directory"} {
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
