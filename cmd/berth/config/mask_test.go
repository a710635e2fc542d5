package config

import (
	"strings"
	"testing"
)

func TestMaskURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                         "",
		"mem://":                   "mem://",
		"sqlite::memory:":          "sqlite::memory:",
		"sqlite:/var/lib/berth.db": "sqlite:/var/lib/berth.db",
		"file:///var/lib/blobs":    "file:///var/lib/blobs",
		"postgres://berth:pw@db/x": "postgres://berth:********@db/x",
		"postgres://berth@db/x":    "postgres://berth@db/x",
		"postgres://db/x?sslmode=a&password=pw&user=u": "postgres://db/x?sslmode=a&password=********&user=u",
		"s3://b?region=r&Secret_Key=pw":                "s3://b?region=r&Secret_Key=********",
		"s3://token@b":                                 "s3://********@b",
		"s3://b?%70assword=pw":                         "s3://b?%70assword=********",
		"s3://u:p@b/a?x=1&token=pw#f":                  "s3://u:********@b/a?x=1&token=********#f",
		"postgres://u:1/2@db/x":                        "********",
		"file:///srv/a@b":                              "file:///srv/a@b",
		"s3://u:p@b?x=1":                               "s3://u:********@b?x=1",
		"host=db password=pw":                          "********",
		"postgres:u:pw@db":                             "********",
		"postgres://u:p%zw@db":                         "********",
	} {
		if got := MaskURL(url); got != want {
			t.Errorf("%q is shown as %q, want %q", url, got, want)
		}
	}
}

// TestOriginsAreShown: http.cors.origins has no secrets, and is shown as it is.
func TestOriginsAreShown(t *testing.T) {
	for _, text := range []string{"*", "https://ui.example", "*,https://ui.example,http://10.0.0.7:8080"} {
		l, err := loadTest(t, "", nil, []string{"--http-cors-origins", text})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range Settings() {
			if got := s.Shown(&l.Config); s.Key == "http.cors.origins" && got != text {
				t.Errorf("%s is shown as %q", text, got)
			}
		}
	}
}

// TestMisplacedPasswordIsMasked: an error masks the password of a URL, whatever the setting.
func TestMisplacedPasswordIsMasked(t *testing.T) {
	const url = "https://u:hidden@r.example"
	for _, args := range [][]string{
		{"--http-external-url", url}, {"--http-external-url", "https://a.example," + url}, {"--http-hosts", url}, {"--addr", url},
		{"--http-cors-origins", url}, {"--http-cors-origins", "https://a.example," + url}, {"--audit-file", "~/" + url}, {"--log-level", url},
		{"--manifests-cache", url}, {"--auth-service", url + "\""}, {"--debug-addr", url},
	} {
		if _, err := loadTest(t, "", nil, args); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", args, err)
		}
	}
}
