package config

import (
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// loadTest loads a configuration from the text of a file, variables and flags.
func loadTest(t *testing.T, file string, environ, args []string) (*Loaded, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if file != "" {
		args = append(args, "--config", writeFile(t, file))
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(flags, environ)
}

// writeFile writes a configuration file.
func writeFile(t *testing.T, text string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "berth.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestEverySettingIsDocumentedAndDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Settings() {
		if s.Doc == "" || s.Key == "" || strings.HasSuffix(s.Key, ".") {
			t.Errorf("%+v lacks a key or a doc", s)
		}
		for _, name := range []string{s.Key, s.Env, "--" + s.Flag} {
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
	for _, s := range Settings() {
		if l.origin[s.Key] != FromDefault {
			t.Errorf("%s comes from %q", s.Key, l.origin[s.Key])
		}
	}
}

// TestEverySourceReachesEverySetting sets each setting in the file, as variable and as flag, and
// reads it back.
func TestEverySourceReachesEverySetting(t *testing.T) {
	values := map[string]string{
		"data": "/d", "http.addr": "127.0.0.1:7", "http.hosts": "a,b", "http.header_timeout": "3s", "http.body_timeout": "4s",
		"http.linger_bytes": "6KiB", "http.linger_time": "7s", "http.max_header_bytes": "5000", "http.external_url": "https://a.test,https://b.test", "http.trusted_proxies": "10.0.0.0/8,::1",
		"http.strict_hosts": "true", "http.relative_locations": "never",
		"http.cors.origins": "https://ui.test,http://127.0.0.1:8080", "http.cors.credentials": "true",
		"tls.certificate": "/c", "tls.key": "/k", "tls.hsts": "24h", "auth.mode": "none", "auth.policy": "/p", "auth.htpasswd": "/f,/g",
		"auth.service": "registry", "auth.token_ttl": "4m", "auth.upload_grace": "2h", "auth.session_ttl": "3h", "auth.key_file": "/s",
		"auth.key_rotation": "48h", "auth.compat_x5c": "true", "audit.file": "/a", "storage.bucket": "file:///b", "storage.min_free": "7KiB", "storage.upload_memory": "20MiB",
		"storage.upload_expiry": "8s", "storage.uploads_per_caller": "18", "storage.upload_bytes_per_caller": "19GiB", "storage.delete_delay": "9s",
		"storage.redirect.enabled": "true", "storage.redirect.min_size": "21KiB", "storage.redirect.networks": "10.0.0.0/8,::1", "storage.redirect.expiry": "5m", "database.url": "sqlite:/e",
		"database.password_file": "/w", "database.max_connections": "20", "database.pooler": "transaction", "database.migrate_url": "postgres://m@h/x", "manifests.allow_missing": "all",
		"manifests.max_size": "10KiB", "manifests.memory": "11MiB", "manifests.cache": "12KiB", "log.format": "text", "log.level": "warn",
		"debug.addr": "127.0.0.1:8", "shutdown.delay": "13s", "shutdown.grace": "14s", "shutdown.record": "15s",
		"runtime.gogc": "16", "runtime.memory_limit": "17MiB",
	}
	if runtime.GOOS == "windows" {
		values["data"] = `C:\d`
	}
	with := map[string][]string{ // settings that need others
		"database.password_file": {"--database-url=postgres://u@h/x"}, "database.pooler": {"--database-url=postgres://u@h/x"},
		"database.migrate_url": {"--database-url=postgres://u@h/x"},
		"tls.certificate":      {"--tls-key=/k"}, "tls.key": {"--tls-certificate=/c"},
		"http.strict_hosts":     {"--http-external-url=https://a.test"},
		"http.cors.credentials": {"--http-cors-origins=https://ui.test"},
	}
	for _, s := range Settings() {
		value, ok := values[s.Key]
		if !ok {
			t.Errorf("%s has no value in this test", s.Key)
			continue
		}
		section, key, nested := strings.Cut(s.Key, ".")
		file := section + ": " + value
		if nested {
			file = section + ":\n  " + key + ": " + value
		}
		for from, read := range map[string]func() (*Loaded, error){
			"file ":     func() (*Loaded, error) { return loadTest(t, file, nil, with[s.Key]) },
			"variable ": func() (*Loaded, error) { return loadTest(t, "", []string{s.Env + "=" + value}, with[s.Key]) },
			"flag --" + s.Flag: func() (*Loaded, error) {
				return loadTest(t, "", nil, append([]string{"--" + s.Flag + "=" + value}, with[s.Key]...))
			},
		} {
			l, err := read()
			if err != nil {
				t.Errorf("%s by %s: %v", s.Key, from, err)
				continue
			}
			if got := s.text(&l.Config); got != value || !strings.HasPrefix(l.origin[s.Key], from) {
				t.Errorf("%s by %s: got %q from %q, want %q", s.Key, from, got, l.origin[s.Key], value)
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
		!strings.HasPrefix(l.origin["log.level"], "file ") || l.origin["shutdown.record"] != FromDefault {
		t.Errorf("origins: %v", l.origin)
	}
}

// TestRepeatedFlags: a list that is given again grows, and of another flag the last one counts.
func TestRepeatedFlags(t *testing.T) {
	l, err := loadTest(t, "", []string{"BERTH_HTTP_HOSTS=x.test"}, []string{"--http-hosts", "a.test,b.test", "--addr", ":1", "--http-hosts", "c.test", "--addr", ":2"})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l.HTTP.Hosts, []string{"a.test", "b.test", "c.test"}) || l.HTTP.Addr != ":2" {
		t.Errorf("%+v", l.HTTP)
	}
}

func TestConfigFileByVariable(t *testing.T) {
	name := writeFile(t, "http.hosts: [registry.test, 'other.test']\nlog.level: debug\n")
	l, err := loadTest(t, "", []string{"BERTH_CONFIG=" + name}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(l.HTTP.Hosts, []string{"registry.test", "other.test"}) || l.Log.Level != "debug" || len(l.Unknown) > 0 {
		t.Errorf("got %+v, unknown %v", l.Config, l.Unknown)
	}
}

func TestUnknownVariables(t *testing.T) {
	environ := []string{"BERTH_PORT=tcp://10.0.0.1:5000", "BERTH_SERVICE_HOST=10.0.0.1", "BERTH_TEST_X=1", "PATH=/bin", "BERTH_DATA=/x"}
	l, err := loadTest(t, "", environ, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"BERTH_PORT", "BERTH_SERVICE_HOST"}; !reflect.DeepEqual(l.Unknown, want) {
		t.Errorf("got %v, want %v", l.Unknown, want)
	}
}

// TestRefused: the error for a wrong configuration has the key, the value, and what would be right.
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
		{name: "deeper than a setting", file: "data: {dir: /x}", want: []string{"berth.yaml:1: data: a mapping", "a single value"}},
		{name: "key that is like none", file: "log: {level: info}\nversion: 2", want: []string{"berth.yaml:2: unknown key version: `berth config check` lists"}},
		{name: "key twice", file: "data: /x\nlog: {level: info}\ndata: /y", want: []string{"berth.yaml:3: data is there twice, first in line 1"}},
		{name: "section twice", file: "log: {level: info}\nlog: {format: text}", want: []string{"berth.yaml:2: log is there twice"}},
		{name: "key twice in two forms", file: "log.level: info\nlog: {level: warn}", want: []string{"berth.yaml:2: log.level is there twice, first in line 1"}},
		{name: "unknown key twice", file: "x: 1\nx: 2", want: []string{"berth.yaml:1: unknown key x", "berth.yaml:2: x is there twice"}},
		{name: "two documents", file: "data: /x\n---\nhttp: {addr: '127.0.0.1:1'}", want: []string{"a second document begins in line 2"}},
		{name: "text after the document", file: "data: /x\n...\nhttp: {addr: '127.0.0.1:1'}", want: []string{"berth.yaml: text after the end of the document"}},
		{name: "tab", file: "http:\n\taddr: 127.0.0.1:1", want: []string{"berth.yaml", "line 2", "cannot start any token"}},
		{name: "no mapping", file: "- data: /x", want: []string{"berth.yaml:1: expected keys with values"}},
		{name: "text alone", file: "data=/x", want: []string{"berth.yaml:1: expected keys with values"}},
		{name: "alias", file: "data: &d /x\nauth: {policy: *d}", want: []string{"berth.yaml:2: auth.policy: an alias"}},
		{name: "tag", file: "data: !Env DATA", want: []string{"data: YAML takes !Env for a tag"}},
		{name: "nothing in a list", file: "http: {hosts: [a.test, ]}\nauth: {htpasswd: [/x, ~]}", want: []string{"auth.htpasswd", "a list of plain values"}},
		{name: "file of distribution", file: "version: 0.1\nlog: {level: debug}\nstorage: {filesystem: {rootdirectory: /var/lib/registry}}\nhttp: {addr: ':5000'}",
			want: []string{"a configuration of CNCF distribution", "`berth config check` without a file", "docs/configuration.md"}},
		{name: "empty choice", args: []string{"--log-level", ""}, want: []string{`log.level: ""`, "debug, info"}},
		{name: "address with a mistake", args: []string{"--debug-addr", "256.1.1.1:1"}, want: []string{`debug.addr: "256.1.1.1:1" is not HOST:PORT`}},
		{name: "address of all", args: []string{"--addr", "*:5000"}, want: []string{`http.addr: "*:5000"`, "0.0.0.0:5000 for all"}},
		{name: "parameters of a bucket", args: []string{"--storage-bucket", "file:///tmp/b?x=hidden"}, want: []string{"storage.bucket: ", `the parameter "x" is not supported`}},
		{name: "relative bucket", args: []string{"--storage-bucket", "file://relative/x"}, want: []string{"storage.bucket: ", "file://./relative/x"}},
		{name: "parameters of a database", args: []string{"--database-url", "sqlite:/x?mode=ro"}, want: []string{"database.url: ", "no parameters"}},
		{name: "host of a database", args: []string{"--database-url", "sqlite://x/y"}, want: []string{"database.url: "}},
		{name: "home of a database", args: []string{"--database-url", "sqlite:~/x"}, want: []string{"database.url: ", "only a shell expands"}},
		{name: "home of a bucket", args: []string{"--storage-bucket", "file://~/x"}, want: []string{"storage.bucket: ", "only a shell expands"}},
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
		{name: "bucket of another kind", file: "storage: {bucket: 'ftp://key:hidden@b?secret=hidden'}", want: []string{"storage.bucket", "ftp://", "file:///directory, s3://bucket"}},
		{name: "secret of a bucket", file: "storage: {bucket: 's3://b-1?access_key=hidden'}", want: []string{"storage.bucket", "s3://b-1", `"access_key" is refused`}},
		{name: "user of a bucket", file: "storage: {bucket: 's3://key:hidden@b-1'}", want: []string{"storage.bucket", "s3://b-1", "has no user"}},
		{name: "little memory for uploads", file: "storage: {upload_memory: 1MiB}", want: []string{"storage.upload_memory", "at least 10MiB"}},
		{name: "database of another kind", environ: []string{"BERTH_DATABASE_URL=mysql://u:hidden@db/berth?password=hidden"}, want: []string{"database.url", "mysql://u:", "sqlite:/path/to/file", "postgres://USER@HOST/NAME"}},
		{name: "postgres with an unknown sslmode", environ: []string{"BERTH_DATABASE_URL=postgres://u:hidden@db/berth?sslmode=none"}, want: []string{"database.url: ", "sslmode=verify-full"}},
		{name: "postgres with a bare @", environ: []string{"BERTH_DATABASE_URL=postgres://u:hid@hidden@db/berth"}, want: []string{"database.url: ", "%40"}},
		{name: "migrations elsewhere", environ: []string{"BERTH_DATABASE_URL=postgres://u@db/berth", "BERTH_DATABASE_MIGRATE_URL=sqlite:/hidden"}, want: []string{"database.migrate_url: ", "postgres://"}},
		{name: "postgres with a bucket in memory", args: []string{"--database-url", "postgres://u@db/berth", "--storage-bucket", "mem://"}, want: []string{"mem://", "postgres://u@db/berth"}},
		{name: "settings of postgres", args: []string{"--database-password-file", "/w"}, want: []string{"database.password_file", "for PostgreSQL"}},
		{name: "one connection", args: []string{"--database-max-connections", "1"}, want: []string{"database.max_connections", "at least 2"}},
		{name: "unknown pooler", args: []string{"--database-pooler", "session"}, want: []string{"database.pooler", "none, transaction"}},
		{name: "database as a list of words", environ: []string{"BERTH_DATABASE_URL=host=db password=hidden"}, want: []string{"database.url"}},
		{name: "lasting rows of bytes in memory", file: "storage: {bucket: 'mem://'}\ndatabase: {url: 'sqlite:/x'}", want: []string{"mem://", "sqlite:/x", "sqlite::memory:"}},
		{name: "neither true nor false", environ: []string{"BERTH_AUTH_COMPAT_X5C=yes"}, want: []string{`auth.compat_x5c: "yes"`, "true or false"}},
		{name: "token for less than a minute", args: []string{"--auth-token-ttl", "59s"}, want: []string{`auth.token_ttl: "59s" (flag --auth-token-ttl)`, "between 1m and 1h"}},
		{name: "token for more than an hour", file: "auth: {token_ttl: 61m}", want: []string{`auth.token_ttl: "1h1m"`, "between 1m and 1h"}},
		{name: "token for part of a second", file: "auth: {token_ttl: 90500ms}", want: []string{"auth.token_ttl", "whole seconds"}},
		{name: "session for more than six hours", file: "auth: {session_ttl: 7h}", want: []string{`auth.session_ttl: "7h"`, "between 1m and 6h"}},
		{name: "uploads for more than a day", file: "auth: {upload_grace: 25h}", want: []string{`auth.upload_grace: "25h"`, "between 0s and 24h"}},
		{name: "no session", file: "auth: {session_ttl: 0s}", want: []string{`auth.session_ttl: "0s"`, "between 1m and 6h"}},
		{name: "keys that change too soon", file: "auth: {key_rotation: 1h}", want: []string{`auth.key_rotation: "1h"`, "at least 1h5m"}},
		{name: "key without certificate", file: "tls: {key: /k}", want: []string{"tls.key is set and tls.certificate is not"}},
		{name: "certificate without key", file: "tls: {certificate: /c}", want: []string{"tls.certificate is set and tls.key is not"}},
		{name: "external URL", file: "http: {external_url: 'https://u:hidden@r.example'}", want: []string{"http.external_url", "https://registry.example"}},
		{name: "strict hosts without hosts", file: "http: {strict_hosts: true}", want: []string{"http.strict_hosts", "set http.external_url"}},
		{name: "strict hosts and every host", file: "http: {strict_hosts: true, hosts: ['*', r.lan]}", want: []string{"http.strict_hosts", "http.hosts", "every name"}},
		{name: "locations", file: "http: {relative_locations: false}", want: []string{"http.relative_locations", "auto, always, never"}},
		{name: "proxy", file: "http: {trusted_proxies: [10.0.0.0/8, proxy.example]}", want: []string{`http.trusted_proxies: "proxy.example"`, "10.0.0.0/8"}},
		{name: "proxies with host bits", file: "http: {trusted_proxies: [10.1.2.3/8]}", want: []string{`http.trusted_proxies: "10.1.2.3/8" has more than the network's bits: expected 10.0.0.0/8`}},
		{name: "redirects for a network with host bits", file: "storage: {redirect: {networks: [10.1.2.3/8, store]}}",
			want: []string{`storage.redirect.networks: "10.1.2.3/8" has more`, `storage.redirect.networks: "store" is neither`}},
		{name: "signed URLs for a moment", file: "storage: {redirect: {expiry: 59s}}", want: []string{`storage.redirect.expiry: "59s"`, "between 1m and 168h"}},
		{name: "signed URLs for long", file: "storage: {redirect: {expiry: 169h}}", want: []string{`storage.redirect.expiry: "169h"`, "between 1m and 168h"}},
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

// TestFileTexts: a scalar is what stands in the file, whatever YAML takes it for, and a byte order
// mark and an empty document are none of it.
func TestFileTexts(t *testing.T) {
	l, err := loadTest(t, "\ufeff---\nauth:\n  service: 1.10\n  compat_x5c: True\naudit: {file: 2026-11-28}\nlog:\n...\n", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l.Auth.Service != "1.10" || !l.Auth.CompatX5C || l.Audit.File != "2026-11-28" {
		t.Errorf("%+v, %+v", l.Auth, l.Audit)
	}
	for _, text := range []string{"\n", "# nothing\n", "---\n", "null"} {
		if _, err := loadTest(t, text, nil, nil); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestInMemory(t *testing.T) {
	l, err := loadTest(t, "", nil, []string{"--storage-bucket", "mem://"})
	if err != nil {
		t.Fatal(err)
	}
	if l.Database.URL != memoryDatabase || !l.InMemory() || l.DatabaseFile != "" {
		t.Errorf("got %+v", l.Config)
	}
}
