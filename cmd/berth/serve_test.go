package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestServe(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := serve(t, data, nil)
	host, port, err := net.SplitHostPort(p.line.Addr)
	if err != nil || host != "127.0.0.1" || port == "0" || p.line.Data != data || p.line.Push != "docker push localhost:"+port+"/NAME:TAG" {
		t.Errorf("start line %+v", p.line)
	}
	for path, want := range map[string]string{"/v2/": "{}", "/readyz": "", "/livez": ""} {
		if status, _, answer := p.request("GET", path, nil); status != http.StatusOK || !strings.HasPrefix(string(answer), want) {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
	layer := []byte("layer")
	manifest, err := pushImage(p.url, "team/app", "1", layer)
	if err != nil {
		t.Fatal(err)
	}
	if err := pullImage(p.url, "team/app", "1", manifest, layer); err != nil {
		t.Error(err)
	}
	for name, mode := range map[string]fs.FileMode{"": fs.ModeDir | 0o700, "berth.db": 0o600, "berth.lock": 0o600} {
		info, err := os.Stat(filepath.Join(data, name))
		if err != nil || runtime.GOOS != "windows" && info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	p.stop()
	var messages []string
	for line := range strings.Lines(p.log.String()) {
		var entry struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("log line %q: %v", line, err)
		}
		messages = append(messages, entry.Msg)
	}
	if n := len(messages); n < 4 || messages[0] != "serving" || messages[n-2] != "stopping" || messages[n-1] != "stopped" {
		t.Errorf("messages: %q", messages)
	}
}

func TestSecretsOfABadBucketAreMasked(t *testing.T) {
	t.Parallel()
	r := berth(t, nil, "serve", "--data", newData(t), "--addr", "127.0.0.1:0", "--storage-bucket", "file://user:secretpassword@/x?token=secrettoken")
	if r.code != 1 || !strings.Contains(r.stderr, "storage.bucket: ") || strings.Contains(r.stderr, "secretpassword") || strings.Contains(r.stderr, "secrettoken") {
		t.Errorf("a bucket that cannot be opened: %+v", r)
	}
}

func TestSecondServeIsRefused(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := serve(t, data, nil)
	r := berth(t, nil, "serve", "--data", data, "--addr", "127.0.0.1:0")
	if r.code != 1 || !strings.Contains(r.stderr, data) || !strings.Contains(r.stderr, "another berth serve (process ") {
		t.Errorf("second serve: %+v", r)
	}
	if status, _, _ := p.request("GET", "/readyz", nil); status != http.StatusOK {
		t.Errorf("the first one is %d", status)
	}
	p.stop()
	serve(t, data, nil).stop()
}

func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	data := newData(t)
	layer := []byte("layer")
	p := serve(t, data, nil)
	manifest, err := pushImage(p.url, "app", "1", layer)
	if err != nil {
		t.Fatal(err)
	}
	p.signal(os.Kill)
	<-p.done
	// A temporary file, as earlier versions leave it when they are killed during a push.
	temporary := filepath.Join(data, "blobs", "content", "00", "a-1.18ea2d11d1382c68.tmp")
	if err := os.WriteFile(temporary, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	p = serve(t, data, nil)
	if err := pullImage(p.url, "app", "1", manifest, layer); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(temporary); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file was not swept: %v", err)
	}
	p.stop()
}

// TestServeRefuses has starts that must fail, with parts of their messages.
func TestServeRefuses(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := writeFile(t, "file", "")
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"a file as directory", []string{"--data", file}, []string{file, "not a directory"}},
		{"address in use", []string{"--addr", taken.Addr().String()}, []string{"http.addr", "in use"}},
		{"debug address in use", []string{"--debug-addr", taken.Addr().String()}, []string{"debug.addr", "in use"}},
		{"unknown key", []string{"--config", writeFile(t, "c.yaml", "http: {adr: x}")}, []string{"unknown key http.adr", "did you mean http.addr?"}},
		{"unknown flag", []string{"--adr", "x"}, []string{"--adr"}},
		{"an argument", []string{"now"}, []string{"now"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := berth(t, nil, append([]string{"serve", "--addr", "127.0.0.1:0", "--data", newData(t)}, test.args...)...)
			if r.code != 1 {
				t.Errorf("exit code %d", r.code)
			}
			for _, want := range test.want {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("%q does not say %q", r.stderr, want)
				}
			}
		})
	}
}

// TestErrorsOfTheStartAreJSON where the log is JSON, whatever source says so: a mistake in the
// configuration too, also in the file that sets the format.
func TestErrorsOfTheStartAreJSON(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "file", "")
	for name, c := range map[string]struct {
		env, args []string
		want      string
	}{
		"a part that does not open": {args: []string{"--data", file, "--log-format", "json"}, want: "not a directory"},
		"no terminal":               {args: []string{"--data", file}, want: "not a directory"},
		"by variable":               {env: []string{"BERTH_LOG_FORMAT=json"}, args: []string{"--addr", "x"}, want: "http.addr"},
		"a key":                     {args: []string{"--config", writeFile(t, "c.yaml", "log: {format: json}\nhttp: {adr: x}\n")}, want: "unknown key http.adr"},
		"a value":                   {args: []string{"--config", writeFile(t, "c.yaml", "log: {format: json}\nhttp: {body_timeout: x}\n")}, want: "http.body_timeout"},
		"a flag":                    {args: []string{"--nonsense"}, want: "unknown flag: --nonsense"},
		"an argument":               {args: []string{"extra"}, want: "extra"},
		"the format":                {env: []string{"BERTH_LOG_FORMAT=jsno"}, want: "log.format"},
		"not YAML":                  {args: []string{"--config", writeFile(t, "c.yaml", "{"), "--log-format", "json"}, want: "c.yaml"},
	} {
		r := berth(t, c.env, append([]string{"serve"}, c.args...)...)
		var line struct{ Level, Msg, Error string }
		if err := json.Unmarshal([]byte(r.stderr), &line); err != nil || r.code != 1 || line.Level != "ERROR" || line.Msg == "" || !strings.Contains(line.Error, c.want) {
			t.Errorf("%s: code %d, %v: %s", name, r.code, err, r.stderr)
		}
	}
	for _, args := range [][]string{{"--data", file}, {"--nonsense"}, {"extra"}} {
		if r := berth(t, []string{"BERTH_LOG_FORMAT=text"}, append([]string{"serve"}, args...)...); r.code != 1 || !strings.HasPrefix(r.stderr, "berth: ") {
			t.Errorf("text, %s: code %d: %s", args, r.code, r.stderr)
		}
	}
}

// TestForeignBucket: a server refuses a bucket that belongs to another registry than the database.
func TestForeignBucket(t *testing.T) {
	t.Parallel()
	one, two := newData(t), newData(t)
	serve(t, one, nil).stop()
	serve(t, two, nil).stop()
	r := berth(t, nil, "serve", "--addr", "127.0.0.1:0", "--data", one, "--storage-bucket", "file://"+filepath.ToSlash(two)+"/blobs")
	if r.code != 1 || !strings.Contains(r.stderr, "bucket belongs to registry") {
		t.Errorf("%+v", r)
	}
}

func TestUnknownVariableIsAWarning(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), []string{"BERTH_PORT=tcp://10.0.0.1:5000", "BERTH_TEST_ALL=1"})
	if log := p.log.String(); !strings.Contains(log, `"level":"WARN"`) || !strings.Contains(log, `"name":"BERTH_PORT"`) || strings.Contains(log, "BERTH_TEST_") {
		t.Errorf("log: %s", log)
	}
	p.stop()
}

// TestH3Rebinding sends the hosts of web pages whose names resolve to the registry.
func TestH3Rebinding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		args []string
		want map[string]int // status by Host
	}{
		{"default", nil, map[string]int{"localhost": 200, "localhost:5000": 200, "127.0.0.1:1": 200, "[::1]": 200, "evil.test": 421, "registry.test": 421}},
		{"open by choice", []string{"--auth-mode", "none"}, map[string]int{"localhost": 200, "evil.test": 421}},
		{"one more", []string{"--http-hosts", "registry.test,other.test:443"}, map[string]int{"registry.test": 200, "registry.test:80": 200, "other.test:443": 200, "evil.test": 421}},
		{"all", []string{"--http-hosts", "*"}, map[string]int{"localhost": 200, "evil.test": 200}},
		{"an external URL", []string{"--http-external-url", "https://R.test:8443"}, map[string]int{"r.test:8443": 200, "r.test.": 200, "evil.test": 421}},
		{"with users", []string{"--auth-mode", "berth", "--http-external-url", "https://r.test"}, map[string]int{"r.test": 401, "evil.test": 401}},
		{"with users, strict", []string{"--auth-mode", "berth", "--http-external-url", "https://r.test", "--http-hosts", "pod.test:80", "--http-strict-hosts"},
			map[string]int{"r.test": 401, "R.test.:443": 401, "pod.test": 401, "localhost": 401, "evil.test": 421, "10.0.0.1": 421}},
		{"beyond loopback, strict", []string{"--auth-mode", "none", "--addr", "0.0.0.0:0", "--http-external-url", "https://r.test", "--http-strict-hosts"},
			map[string]int{"r.test": 200, "localhost": 200, "evil.test": 421}},
		{"beyond loopback", []string{"--auth-mode", "none", "--addr", "0.0.0.0:0"}, map[string]int{"localhost": 200, "evil.test": 200}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := serve(t, newData(t), nil, test.args...)
			_, port, err := net.SplitHostPort(p.line.Addr)
			if err != nil {
				t.Fatal(err)
			}
			p.url = "http://127.0.0.1:" + port
			for host, want := range test.want {
				if status, _, answer := p.request("GET", "/v2/", nil, "Host", host); status != want {
					t.Errorf("%s: %d %s, want %d", host, status, answer, want)
				}
				if status, _, answer := p.request("GET", "/readyz", nil, "Host", host); status != 200 {
					t.Errorf("%s, for /readyz: %d %s", host, status, answer)
				}
			}
			p.stop()
		})
	}
}

// TestStartLeavesNoGarbage: what only the start needed does not make the heap grow to many times
// what the server uses. The request collects garbage first.
func TestStartLeavesNoGarbage(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), []string{"GOGC="}, "--debug-addr", "127.0.0.1:0")
	if status, _, _, err := exchange("GET", "http://"+p.line.Debug+"/debug/pprof/heap?gc=1", nil); status != http.StatusOK || err != nil {
		t.Fatalf("%d, %v", status, err)
	}
	_, _, page, err := exchange("GET", "http://"+p.line.Debug+"/metrics", nil)
	_, after, found := strings.Cut(string(page), "\ngo_memstats_next_gc_bytes ")
	var next float64
	if _, scanErr := fmt.Sscan(after, &next); err != nil || !found || scanErr != nil {
		t.Fatalf("%v, %v, %v", err, found, scanErr)
	}
	if next > 40<<20 {
		t.Errorf("the next collection is at a heap of %.0f MiB", next/(1<<20))
	}
}

// TestH3DebugRebinding: the debug address answers for the hosts that an open registry answers for,
// and on loopback never for every host.
func TestH3DebugRebinding(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, addr string
		args       []string
		want       map[string]int // status by Host
	}{
		{"with users", "127.0.0.1:0", []string{"--auth-mode", "berth"}, map[string]int{"localhost:1": 200, "127.0.0.1": 200, "evil.test": 421}},
		{"known hosts", "127.0.0.1:0", []string{"--http-hosts", "R.lan", "--http-external-url", "https://r.test"}, map[string]int{"r.lan.:9": 200, "r.test": 200, "evil.test": 421}},
		{"all", "127.0.0.1:0", []string{"--http-hosts", "*,r.lan"}, map[string]int{"localhost": 200, "r.lan": 200, "evil.test": 421}},
		{"beyond loopback", "0.0.0.0:0", nil, map[string]int{"evil.test": 200}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := serve(t, newData(t), nil, append(test.args, "--debug-addr", test.addr)...)
			_, port, err := net.SplitHostPort(p.line.Debug)
			if err != nil {
				t.Fatal(err)
			}
			for host, want := range test.want {
				for _, path := range []string{"/metrics", "/debug/pprof/cmdline"} {
					status, _, body, err := exchange("GET", "http://127.0.0.1:"+port+path, nil, "Host", host)
					if err != nil || status != want || want == 421 && !strings.Contains(string(body), "http.hosts") {
						t.Errorf("%s%s: %d %.100s %v, want %d", host, path, status, body, err, want)
					}
				}
			}
			p.stop()
		})
	}
}

// TestWarnsBeyondLoopback: a start says what everyone who reaches an address may do.
func TestWarnsBeyondLoopback(t *testing.T) {
	t.Parallel()
	const debug, open = "debug.addr is not a loopback address", "auth.mode is none, and http.addr is not a loopback address"
	for name, test := range map[string]struct {
		args []string
		want map[string]bool
	}{
		"both":          {[]string{"--addr", "0.0.0.0:0", "--auth-mode", "none", "--debug-addr", "0.0.0.0:0"}, map[string]bool{debug: true, open: true}},
		"neither":       {[]string{"--auth-mode", "none", "--debug-addr", "127.0.0.1:0"}, map[string]bool{debug: false, open: false}},
		"with users":    {[]string{"--addr", "0.0.0.0:0", "--debug-addr", "127.0.0.1:0"}, map[string]bool{debug: false, open: false}},
		"debug address": {[]string{"--auth-mode", "berth", "--debug-addr", "[::]:0"}, map[string]bool{debug: true, open: false}},
	} {
		t.Run(name, func(t *testing.T) {
			p := serve(t, newData(t), nil, test.args...)
			p.stop() // writes the whole log
			for warning, want := range test.want {
				if got := strings.Contains(p.log.String(), warning); got != want {
					t.Errorf("%q is in the log: %v\n%s", warning, got, p.log.String())
				}
			}
		})
	}
}

func TestServeInMemory(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := serve(t, data, nil, "--storage-bucket", "mem://")
	layer := []byte("layer")
	manifest, err := pushImage(p.url, "app", "1", layer)
	if err != nil {
		t.Fatal(err)
	}
	if err := pullImage(p.url, "app", "1", manifest, layer); err != nil {
		t.Error(err)
	}
	p.stop()
	if _, err := os.Stat(data); !os.IsNotExist(err) || p.line.Data != "memory" {
		t.Errorf("data directory: %v, start line %+v", err, p.line)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil, "--debug-addr", "127.0.0.1:0", "--audit-file", filepath.Join(t.TempDir(), "audit.log"))
	if _, err := pushImage(p.url, "app", "1", []byte("layer")); err != nil {
		t.Fatal(err)
	}
	status, _, page, err := exchange("GET", "http://"+p.line.Debug+"/metrics", nil)
	if err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	for _, name := range []string{"go_goroutines ", "go_build_info{", "process_resident_memory_bytes ", "berth_bucket_operation_seconds_bucket{", "berth_sql_seconds",
		"berth_http_requests_total{", "berth_http_request_duration_seconds_bucket{", "berth_http_received_bytes_total", "berth_http_sent_bytes_total", "berth_http_requests_in_flight", "berth_uploads_open",
		"berth_log_dropped_total 0", "berth_audit_dropped_total 0"} {
		if !strings.Contains(string(page), "\n"+name) {
			t.Errorf("no metric %s", name)
		}
	}
	if t.Failed() {
		t.Logf("%s", page)
	}
	for path, want := range map[string]int{"/debug/pprof/": 200, "/debug/pprof/heap": 200, "/debug/pprof/cmdline": 200, "/v2/": 404} {
		if status, _, _, err := exchange("GET", "http://"+p.line.Debug+path, nil); err != nil || status != want {
			t.Errorf("%s: %d %v", path, status, err)
		}
	}
	if status, _, _ := p.request("GET", "/metrics", nil); status != http.StatusNotFound {
		t.Errorf("/metrics of the main address: %d", status)
	}
	p.stop()
}

// TestRuntimeSettings: the settings reach the Go runtime. The runtime's own variables override only
// the defaults.
func TestRuntimeSettings(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, gogc, limit string
		env, args         []string
	}{
		{"defaults", "400", "1.00663296e+08", nil, nil},
		{"variables", "50", "1.073741824e+09", []string{"GOGC=50", "GOMEMLIMIT=1GiB"}, nil},
		{"settings over variables", "200", "2.097152e+08", []string{"GOGC=50", "GOMEMLIMIT=1GiB", "BERTH_RUNTIME_GOGC=200"}, []string{"--runtime-memory-limit", "200MiB"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := serve(t, newData(t), test.env, append(test.args, "--debug-addr", "127.0.0.1:0")...)
			_, _, page, err := exchange("GET", "http://"+p.line.Debug+"/metrics", nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{"go_gc_gogc_percent": test.gogc, "go_gc_gomemlimit_bytes": test.limit} {
				if !strings.Contains(string(page), "\n"+name+" "+want+"\n") {
					t.Errorf("%s is not %s", name, want)
				}
			}
			p.stop()
		})
	}
}

// TestR6WideProxies: `config check` and `serve` warn about trusted proxies that are networks with
// other hosts in them.
func TestR6WideProxies(t *testing.T) {
	t.Parallel()
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
