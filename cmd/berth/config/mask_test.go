package config

import "testing"

func TestMaskURL(t *testing.T) {
	for url, want := range map[string]string{
		"":                         "",
		"mem://":                   "mem://",
		"sqlite::memory:":          "sqlite::memory:",
		"sqlite:/var/lib/berth.db": "sqlite:/var/lib/berth.db",
		"file:///var/lib/blobs":    "file:///var/lib/blobs",
		"postgres://berth:pw@db/x": "postgres://berth:********@db/x",
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
