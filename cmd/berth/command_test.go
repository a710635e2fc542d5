package main

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/cmd/berth/config"
)

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "berth.yaml", "manifests: {cache: 8MiB}\nhttp: {hosts: [a.test, b.test]}\n")
	r := berth(t, []string{"BERTH_LOG_LEVEL=warn", "BERTH_SERVICE_PORT=1"}, "config", "check", "--config", file, "--shutdown-delay", "2s", "--data", "/d")
	if r.code != 0 {
		t.Fatalf("%+v", r)
	}
	rows := map[string]string{} // columns joined by one space, by key
	for line := range strings.Lines(r.stdout) {
		if columns := strings.Fields(line); len(columns) > 2 {
			rows[columns[0]] = strings.Join(columns[1:], " ")
		}
	}
	data, err := filepath.Abs("/d")
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"data":                 data + " flag --data",
		"http.addr":            "127.0.0.1:5000 default",
		"http.hosts":           "a.test,b.test file " + file,
		"manifests.cache":      "8MiB file " + file,
		"log.level":            "warn variable BERTH_LOG_LEVEL",
		"shutdown.delay":       "2s flag --shutdown-delay",
		"database.url":         "sqlite:" + filepath.Join(data, "berth.db") + " default",
		"auth.mode":            "- default",
		"storage.delete_delay": "1h default",
	} {
		if rows[key] != want {
			t.Errorf("%s: %q, want %q", key, rows[key], want)
		}
	}
	if len(rows) != len(config.Settings())+1 {
		t.Errorf("%d rows:\n%s", len(rows), r.stdout)
	}
	if !strings.Contains(r.stderr, "BERTH_SERVICE_PORT") {
		t.Errorf("no warning: %q", r.stderr)
	}
}

// TestConfigCheckMasks: a password is not shown, neither in a valid value nor in a wrong one.
func TestConfigCheckMasks(t *testing.T) {
	t.Parallel()
	for url, code := range map[string]int{"file:///b?no_tmp_dir=1&create_dir=1": 0, "file:///b?token=hidden": 1, "file://u:hidden@/b": 1, "s3://u:hidden@b": 1} {
		r := berth(t, []string{"BERTH_STORAGE_BUCKET=" + url}, "config", "check")
		if r.code != code || strings.Contains(r.stdout+r.stderr, "hidden") || code == 1 && !strings.Contains(r.stderr, "storage.bucket: ") {
			t.Errorf("%s: %+v", url, r)
		}
	}
}

func TestConfigCheckRefuses(t *testing.T) {
	t.Parallel()
	r := berth(t, nil, "config", "check", "--config", writeFile(t, "c.yaml", "manifest: {cache: 1}\nlogg: {level: info}"))
	if r.code != 1 || r.stdout != "" || !strings.Contains(r.stderr, "manifests.cache?") || !strings.Contains(r.stderr, "log.level?") {
		t.Errorf("%+v", r)
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil, "--shutdown-delay", "1h")
	check := func(env ...string) result { return berth(t, env, "healthcheck", "--addr", p.line.Addr) }
	if r := check(); r.code != 0 {
		t.Errorf("ready: %+v", r)
	}
	if r := check("HTTP_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1"); r.code != 0 {
		t.Errorf("with a proxy: %+v", r)
	}
	p.signal(syscall.SIGTERM)
	p.await("not ready", func() bool {
		status, _, _, err := exchange("GET", p.url+"/readyz", nil)
		return err == nil && status == 503
	})
	if r := check(); r.code != 1 || !strings.Contains(r.stderr, "not ready") {
		t.Errorf("stopping: %+v", r)
	}
	p.signal(syscall.SIGTERM)
	p.awaitExit(1)
	if r := check(); r.code != 1 || !strings.Contains(r.stderr, "not ready") {
		t.Errorf("ended: %+v", r)
	}
	if r := berth(t, nil, "healthcheck", "--addr", "127.0.0.1:0"); r.code != 1 || !strings.Contains(r.stderr, "port 0") {
		t.Errorf("port 0: %+v", r)
	}
}

func TestSmallCommands(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"version"}, 0, "berth "},
		{[]string{"--version"}, 0, "berth version"},
		{[]string{"completion", "bash"}, 0, "__start_berth"},
		{[]string{"serve", "--help"}, 0, "--manifests-allow-missing none|index|all"},
		{[]string{"serve", "--help"}, 0, "--auth-compat-x5c "},
		{[]string{"sevre"}, 1, "sevre"},
		{[]string{"user"}, 0, "berth user [command]"},
		{[]string{"user", "delete", "alice"}, 1, `unknown command "delete" for "berth user"`},
		{[]string{"token", "crate"}, 1, `unknown command "crate" for "berth token"`},
		{[]string{"robot", "rm"}, 1, `unknown command "rm" for "berth robot"`},
		{[]string{"key", "rotat"}, 1, `unknown command "rotat" for "berth key"`},
		{[]string{"auth", "may"}, 1, `unknown command "may" for "berth auth"`},
		{[]string{"config", "chekc"}, 1, `unknown command "chekc" for "berth config"`},
	} {
		if r := berth(t, nil, test.args...); r.code != test.code || !strings.Contains(r.stdout+r.stderr, test.want) {
			t.Errorf("%v: %+v", test.args, r)
		}
	}
}
