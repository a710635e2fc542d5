package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// loadTest reads a configuration from a file's text, variables and flags.
func loadTest(t *testing.T, file string, environ, args []string) (*loaded, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	configFlags(flags)
	if file != "" {
		args = append(args, "--config", writeFile(t, "berth.yaml", file))
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return loadFor(flags, environ)
}

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEverySettingIsDocumentedAndDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range settings() {
		if s.doc == "" || s.key == "" || strings.HasSuffix(s.key, ".") {
			t.Errorf("%+v lacks a key or a doc", s)
		}
		for _, name := range []string{s.key, s.env, "--" + s.flag} {
			if seen[name] {
				t.Errorf("%s names two settings", name)
			}
			seen[name] = true
		}
	}
	if !seen["manifests.allow_missing"] || !seen["BERTH_MANIFESTS_ALLOW_MISSING"] || !seen["--manifests-allow-missing"] {
		t.Error("manifests.allow_missing is not named as documented")
	}
}

func TestDefaults(t *testing.T) {
	l, err := loadTest(t, "", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Data, _ = filepath.Abs("berth-data")
	want.Storage.Bucket = "file://" + filepath.ToSlash(filepath.Join(want.Data, "blobs"))
	want.Database.URL = "sqlite:" + filepath.Join(want.Data, "berth.db")
	if !reflect.DeepEqual(l.Config, want) {
		t.Errorf("got  %+v\nwant %+v", l.Config, want)
	}
	for _, s := range settings() {
		if l.origin[s.key] != fromDefault {
			t.Errorf("%s comes from %q", s.key, l.origin[s.key])
		}
	}
}

// TestEverySourceReachesEverySetting writes each setting in the file, as variable and as flag, and reads it back.
func TestEverySourceReachesEverySetting(t *testing.T) {
	values := map[string]string{
		"data": "/d", "http.addr": "127.0.0.1:7", "http.hosts": "a,b", "http.header_timeout": "3s", "http.body_timeout": "4s",
		"http.linger_bytes": "6KiB", "http.linger_time": "7s", "http.max_header_bytes": "5000", "http.external_url": "https://a.test,https://b.test", "http.trusted_proxies": "10.0.0.0/8,::1",
		"tls.certificate": "/c", "tls.key": "/k", "tls.hsts": "24h", "auth.mode": "none", "auth.policy": "/p", "auth.htpasswd": "/f,/g",
		"auth.service": "registry", "auth.token_ttl": "4m", "auth.upload_grace": "2h", "auth.session_ttl": "3h", "auth.key_file": "/s",
		"auth.key_rotation": "48h", "auth.compat_x5c": "true", "audit.file": "/a", "storage.bucket": "file:///b", "storage.min_free": "7KiB",
		"storage.upload_expiry": "8s", "storage.uploads_per_caller": "18", "storage.upload_bytes_per_caller": "19GiB", "storage.delete_delay": "9s", "database.url": "sqlite:/e", "manifests.allow_missing": "all",
		"manifests.max_size": "10KiB", "manifests.memory": "11MiB", "manifests.cache": "12KiB", "log.format": "text", "log.level": "warn",
		"debug.addr": "127.0.0.1:8", "shutdown.delay": "13s", "shutdown.grace": "14s", "shutdown.record": "15s",
		"runtime.gogc": "16", "runtime.memory_limit": "17MiB",
	}
	if runtime.GOOS == "windows" {
		values["data"] = `C:\d`
	}
	with := map[string][]string{"tls.certificate": {"--tls-key=/k"}, "tls.key": {"--tls-certificate=/c"}} // halves of a pair
	for _, s := range settings() {
		value, ok := values[s.key]
		if !ok {
			t.Errorf("%s has no value in this test", s.key)
			continue
		}
		section, key, nested := strings.Cut(s.key, ".")
		file := section + ": " + value
		if nested {
			file = section + ":\n  " + key + ": " + value
		}
		for from, read := range map[string]func() (*loaded, error){
			"file ":     func() (*loaded, error) { return loadTest(t, file, nil, with[s.key]) },
			"variable ": func() (*loaded, error) { return loadTest(t, "", []string{s.env + "=" + value}, with[s.key]) },
			"flag --" + s.flag: func() (*loaded, error) {
				return loadTest(t, "", nil, append([]string{"--" + s.flag + "=" + value}, with[s.key]...))
			},
		} {
			l, err := read()
			if err != nil {
				t.Errorf("%s by %s: %v", s.key, from, err)
				continue
			}
			if got := s.text(&l.Config); got != value || !strings.HasPrefix(l.origin[s.key], from) {
				t.Errorf("%s by %s: got %q from %q, want %q", s.key, from, got, l.origin[s.key], value)
			}
		}
	}
}

func TestLaterSourcesWin(t *testing.T) {
	file := "log: {level: warn}\nshutdown:\n  delay: 1s\n  grace: 2s\n  record:\n"
	environ := []string{"BERTH_SHUTDOWN_DELAY=3s", "BERTH_SHUTDOWN_GRACE=4s", "BERTH_LOG_LEVEL="}
	l, err := loadTest(t, file, environ, []string{"--shutdown-delay", "5s"})
	if err != nil {
		t.Fatal(err)
	}
	s := l.Shutdown
	if s.Delay != 5*time.Second || s.Grace != 4*time.Second || s.Record != 10*time.Second || l.Log.Level != "warn" {
		t.Errorf("got %+v, level %s", s, l.Log.Level)
	}
	if l.origin["shutdown.delay"] != "flag --shutdown-delay" || l.origin["shutdown.grace"] != "variable BERTH_SHUTDOWN_GRACE" ||
		!strings.HasPrefix(l.origin["log.level"], "file ") || l.origin["shutdown.record"] != fromDefault {
		t.Errorf("origins: %v", l.origin)
	}
}

func TestConfigFileByVariable(t *testing.T) {
	name := writeFile(t, "x.yaml", "http.hosts: [registry.test, 'other.test']\nlog.level: debug\n")
	l, err := loadTest(t, "", []string{"BERTH_CONFIG=" + name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l.HTTP.Hosts, []string{"registry.test", "other.test"}) || l.Log.Level != "debug" || len(l.unknown) > 0 {
		t.Errorf("got %+v, unknown %v", l.Config, l.unknown)
	}
}

func TestUnknownVariables(t *testing.T) {
	environ := []string{"BERTH_PORT=tcp://10.0.0.1:5000", "BERTH_SERVICE_HOST=10.0.0.1", "BERTH_TEST_X=1", "PATH=/bin", "BERTH_DATA=/x"}
	l, err := loadTest(t, "", environ, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"BERTH_PORT", "BERTH_SERVICE_HOST"}; !reflect.DeepEqual(l.unknown, want) {
		t.Errorf("got %v, want %v", l.unknown, want)
	}
}

// TestRefused holds what a wrong configuration is told: the key, the value and what is right.
func TestRefused(t *testing.T) {
	for _, test := range []struct {
		name, file string
		environ    []string
		args       []string
		want       []string
	}{
		{name: "misspelt key", file: "manifests:\n  alow_missing: all", want: []string{"unknown key manifests.alow_missing", "did you mean manifests.allow_missing?"}},
		{name: "key in no section", file: "addr: 127.0.0.1:1", want: []string{"unknown key addr", "http.addr?"}},
		{name: "key in the wrong section", file: "storage: {url: 'sqlite:x'}", want: []string{"unknown key storage.url", "database.url?"}},
		{name: "unknown section", file: "htpp: {addr: 'x:1'}", want: []string{"unknown key htpp.addr", "http.addr?"}},
		{name: "two unknown keys", file: "datta: x\nlog: {levl: info}", want: []string{"datta", "did you mean data?", "log.levl", "did you mean log.level?"}},
		{name: "deeper than a setting", file: "data: {dir: /x}", want: []string{"unknown key data.dir"}},
		{name: "a value for a section", file: "log: debug", want: []string{"log is a section", "log.level"}},
		{name: "a list for a value", file: "log: {level: [info]}", want: []string{"log.level", "a single value"}},
		{name: "a map for a list", file: "http: {hosts: {}}", want: []string{"http.hosts", "a list"}},
		{name: "no YAML", file: "data: [", want: []string{"berth.yaml", "yaml"}},
		{name: "no file", args: []string{"--config", "/nonexistent/b.yaml"}, want: []string{"/nonexistent/b.yaml"}},
		{name: "duration without unit", file: "http: {body_timeout: 60}", want: []string{`http.body_timeout: "60"`, "berth.yaml", "30s"}},
		{name: "negative duration", environ: []string{"BERTH_SHUTDOWN_DELAY=-1s"}, want: []string{`shutdown.delay: "-1s"`, "variable BERTH_SHUTDOWN_DELAY", "a duration"}},
		{name: "size", args: []string{"--manifests-cache", "many"}, want: []string{`manifests.cache: "many"`, "flag --manifests-cache", "4MiB"}},
		{name: "choice", file: "manifests: {allow_missing: some}", want: []string{`"some"`, "none, index, all"}},
		{name: "less than none", environ: []string{"BERTH_STORAGE_UPLOADS_PER_CALLER=-1"}, want: []string{"storage.uploads_per_caller", "a number of sessions, or 0 for no limit"}},
		{name: "number", environ: []string{"BERTH_RUNTIME_GOGC=high"}, want: []string{"runtime.gogc", "a whole number"}},
		{name: "zero timeout", file: "http: {header_timeout: 0s}", want: []string{"http.header_timeout", "more than 0"}},
		{name: "no memory for a manifest", file: "manifests: {memory: 1MiB}", want: []string{"manifests.memory", "manifests.max_size (4MiB)"}},
		{name: "address", args: []string{"--addr", "5000"}, want: []string{`http.addr: "5000"`, "HOST:PORT"}},
		{name: "debug address", args: []string{"--debug-addr", "x"}, want: []string{`debug.addr: "x"`, "HOST:PORT"}},
		{name: "two wrong values", file: "log: {level: loud, format: xml}", want: []string{`"loud"`, `"xml"`}},
		{name: "bucket of another kind", file: "storage: {bucket: 's3://key:hidden@b?secret=hidden'}", want: []string{"storage.bucket", "s3://", "file:///directory or mem://"}},
		{name: "database of another kind", environ: []string{"BERTH_DATABASE_URL=postgres://u:hidden@db/berth?password=hidden"}, want: []string{"database.url", "postgres://u:", "sqlite:/path/to/file"}},
		{name: "database as a list of words", environ: []string{"BERTH_DATABASE_URL=host=db password=hidden"}, want: []string{"database.url"}},
		{name: "lasting rows of bytes in memory", file: "storage: {bucket: 'mem://'}\ndatabase: {url: 'sqlite:/x'}", want: []string{"mem://", "sqlite:/x", "sqlite::memory:"}},
		{name: "neither true nor false", environ: []string{"BERTH_AUTH_COMPAT_X5C=yes"}, want: []string{`auth.compat_x5c: "yes"`, "true or false"}},
		{name: "token for less than a minute", args: []string{"--auth-token-ttl", "59s"}, want: []string{`auth.token_ttl: "59s" (flag --auth-token-ttl)`, "between 1m and 1h"}},
		{name: "token for more than an hour", file: "auth: {token_ttl: 61m}", want: []string{`auth.token_ttl: "1h1m"`, "between 1m and 1h"}},
		{name: "token for part of a second", file: "auth: {token_ttl: 90500ms}", want: []string{"auth.token_ttl", "whole seconds"}},
		{name: "session for more than six hours", file: "auth: {session_ttl: 7h}", want: []string{`auth.session_ttl: "7h"`, "between 1m and 6h"}},
		{name: "no session", file: "auth: {session_ttl: 0s}", want: []string{`auth.session_ttl: "0s"`, "between 1m and 6h"}},
		{name: "keys that change too soon", file: "auth: {key_rotation: 1h}", want: []string{`auth.key_rotation: "1h"`, "at least 1h5m"}},
		{name: "key without certificate", file: "tls: {key: /k}", want: []string{"tls.key is set and tls.certificate is not"}},
		{name: "certificate without key", file: "tls: {certificate: /c}", want: []string{"tls.certificate is set and tls.key is not"}},
		{name: "external URL", file: "http: {external_url: 'https://u:hidden@r.example'}", want: []string{"http.external_url", "https://registry.example"}},
		{name: "proxy", file: "http: {trusted_proxies: [10.0.0.0/8, proxy.example]}", want: []string{`http.trusted_proxies: "proxy.example"`, "10.0.0.0/8"}},
		{name: "proxies with host bits", file: "http: {trusted_proxies: [10.1.2.3/8]}", want: []string{`http.trusted_proxies: "10.1.2.3/8" has more than the network's bits: expected 10.0.0.0/8`}},
		{name: "rows in memory of lasting bytes", file: "database: {url: 'sqlite::memory:'}", want: []string{"sqlite::memory:", "mem://"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := loadTest(t, test.file, test.environ, test.args)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("%q shows a secret", err)
			}
		})
	}
}

// TestExternalURL holds what http.external_url may be, and the form that comparisons find it in.
func TestExternalURL(t *testing.T) {
	for text, want := range map[string]string{
		"https://registry.example":      "https://registry.example",
		"https://registry.example/":     "https://registry.example",
		"HTTPS://Registry.Example:443":  "https://registry.example",
		"https://registry.example:8443": "https://registry.example:8443",
		"https://registry.example:":     "https://registry.example",
		"http://registry.example:80/":   "http://registry.example",
		"http://registry.example:443":   "http://registry.example:443",
		"http://10.0.0.7:5000":          "http://10.0.0.7:5000",
		"http://[::1]:5000":             "http://[::1]:5000",
	} {
		if got, err := parseExternalURL(text); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                               "not an https or http URL",
		"registry.example":               "not an https or http URL",
		"registry.example:5000":          "not an https or http URL",
		"ftp://registry.example":         "not an https or http URL",
		"https:registry.example":         "not an https or http URL",
		"https://":                       "no host",
		"https://:5000":                  "no host",
		"https://a,b":                    "no host",
		"https://u:hidden@r.example":     "a user in it",
		"https://hidden@r.example":       "a user in it",
		"https://u:hidden@r.example:x":   "not an https or http URL",
		"https://r.example/registry":     "more than scheme, host and port",
		"https://r.example/?":            "more than scheme, host and port",
		"https://r.example?token=hidden": "more than scheme, host and port",
		"https://r.example#x":            "more than scheme, host and port",
	} {
		if got, err := parseExternalURL(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %q, %v, want an error that says %q", text, got, err, want)
		}
	}
}

func TestServiceName(t *testing.T) {
	for want, args := range map[string][]string{
		"berth":          nil,
		"r.example:8443": {"--http-external-url", "https://R.example:8443,https://other.example"},
		"registry":       {"--http-external-url", "https://r.example", "--auth-service", "registry"},
	} {
		l, err := loadTest(t, "", nil, args)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.serviceName(); got != want {
			t.Errorf("%v: %s, want %s", args, got, want)
		}
	}
}

func TestProxies(t *testing.T) {
	got, err := parseProxies([]string{"10.1.2.3", "10.0.0.0/8", "::1", "fd00::/8", "::ffff:10.0.0.1", "::ffff:10.0.0.0/104"})
	if want := "[10.1.2.3/32 10.0.0.0/8 ::1/128 fd00::/8 10.0.0.1/32 10.0.0.0/8]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("got %v, %v, want %s", got, err, want)
	}
	for _, text := range []string{"proxy.example", "10.0.0.0/33", "10.0.0", "10.0.0.0/", "*"} {
		if got, err := parseProxies([]string{text}); err == nil || !strings.Contains(err.Error(), "10.0.0.0/8") {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func TestInMemory(t *testing.T) {
	l, err := loadTest(t, "", nil, []string{"--storage-bucket", "mem://"})
	if err != nil {
		t.Fatal(err)
	}
	if l.Database.URL != memoryDatabase || !l.inMemory() || l.databaseFile() != "" {
		t.Errorf("got %+v", l.Config)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "1": 1, "4194304": 4 << 20, "4MiB": 4 << 20, "4 MiB": 4 << 20, "256MiB": 256 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40,
		"3kB": 3000, "3KB": 3000, "5MB": 5e6, "6GB": 6e9, "7TB": 7e12, "10B": 10, "8KiB": 8192,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "MiB", "-1", "1.5GiB", "4MiBs", "4miB", "0x10", "9223372036854775808", "9007199254740993TiB", "--5"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for size, want := range map[Size]string{0: "0", 1: "1", 1000: "1000", 1024: "1KiB", 1536: "1536", 4 << 20: "4MiB", 3 << 30: "3GiB", 1 << 40: "1TiB"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(size), got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	all := settings()
	for key, want := range map[string]string{
		"htpp.adr": "http.addr", "http.addr": "http.addr", "dat": "data", "log.levle": "log.level", "server.token_ttl": "auth.token_ttl",
	} {
		if got := nearest(key, all); got != want {
			t.Errorf("%q is nearest to %q, want %q", key, got, want)
		}
	}
}

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
		if got := maskURL(url); got != want {
			t.Errorf("%q is shown as %q, want %q", url, got, want)
		}
	}
}

// TestR6WideProxies has networks as trusted proxies in which others are: `config check` and the log of
// `serve` warn.
func TestR6WideProxies(t *testing.T) {
	policy := writeFile(t, "policy.yaml", `policy:
  - {name: inside, who: [anonymous], when: {ip: [10.20.0.0/16, 2001:db8::/48]}, repos: ['**'], allow: [pull]}
`)
	for proxies, want := range map[string][]string{
		"":                               nil,
		"127.0.0.1":                      nil,
		"10.0.3.0/24,fd00::/64":          nil,
		"10.0.2.0/23":                    {"10.0.2.0/23 is a wide network"},
		"fd00::/63":                      {"fd00::/63 is a wide network"},
		"10.0.0.0/8":                     {"10.0.0.0/8 is a wide network", "10.0.0.0/8 overlaps 10.20.0.0/16 of rule inside"},
		"10.20.0.1":                      {"10.20.0.1/32 overlaps 10.20.0.0/16 of rule inside"},
		"2001:db8::7,192.0.2.0/24":       {"2001:db8::7/128 overlaps 2001:db8::/48 of rule inside"},
		"10.20.7.0/24,10.21.0.0/24,::/0": {"10.20.7.0/24 overlaps 10.20.0.0/16", "::/0 is a wide network", "::/0 overlaps 2001:db8::/48"},
	} {
		r := berth(t, nil, "config", "check", "--http-trusted-proxies", proxies, "--auth-policy", policy)
		if n := strings.Count(r.stderr, "berth: warning: http.trusted_proxies: "); r.code != 0 || n != len(want) {
			t.Errorf("%q: code %d and %d warnings, want %d: %s", proxies, r.code, n, len(want), r.stderr)
		}
		for _, text := range want {
			if !strings.Contains(r.stderr, text) {
				t.Errorf("%q: no warning has %q: %s", proxies, text, r.stderr)
			}
		}
	}
	p := serve(t, newData(t), nil, "--http-trusted-proxies", "10.0.0.0/8", "--auth-policy", policy)
	if log := p.log.String(); strings.Count(log, "http.trusted_proxies: 10.0.0.0/8") != 2 {
		t.Errorf("serve does not warn twice: %s", log)
	}
}
