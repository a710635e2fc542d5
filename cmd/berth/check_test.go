package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth/login"
)

// TestCheckAgreesWithServe: what one of `config check` and `serve` refuses, the other refuses too,
// for the same reason, and serve has then made nothing.
func TestCheckAgreesWithServe(t *testing.T) {
	t.Parallel()
	bad := writeFile(t, "bad", "x\n")
	dir := t.TempDir()
	pair := newPairFiles(t, newPair(t, "one.test"))
	other := newPairFiles(t, newPair(t, "two.test"))
	hash := strings.TrimPrefix(strings.TrimSpace(readTestFile(t, htpasswd(t))), "alice:")
	const serves = ""
	for _, test := range []struct {
		name string
		args []string // DATA is the data directory, which does not exist yet
		want string
	}{
		{"all files good", append(pair.args(), "--auth-htpasswd", htpasswd(t), "--auth-policy", writeFile(t, "policy.yaml", publicRead), "--auth-key-file", pair.key), serves},
		{"policy", []string{"--auth-policy", bad}, bad + ":1"},
		{"no policy", []string{"--auth-policy", bad + "2"}, bad + "2"},
		{"htpasswd", []string{"--auth-htpasswd", bad}, bad + ":1"},
		{"no htpasswd", []string{"--auth-htpasswd", bad + "2"}, "htpasswd file: open " + bad + "2"},
		{"htpasswd of apr1", []string{"--auth-htpasswd", writeFile(t, "h", "alice:$apr1$qHDFfhPC$nITSVHgYbDAK1Y0acGRnY0\n")}, "htpasswd -B -C 10"},
		{"htpasswd with a faulty line", []string{"--auth-htpasswd", writeFile(t, "h", "alice:"+hash+"\nbob\n")}, serves},
		{"key", []string{"--auth-key-file", bad}, "auth.key_file: key file " + bad},
		{"no key", []string{"--auth-key-file", bad + "2"}, "auth.key_file: reading the signing keys: open " + bad + "2"},
		{"certificate", []string{"--tls-certificate", bad, "--tls-key", pair.key}, "tls.certificate " + bad},
		{"certificate of another key", []string{"--tls-certificate", other.certificate, "--tls-key", pair.key}, "is the key of no certificate"},
		{"audit in no directory", []string{"--audit-file", "nodir/x.log"}, "audit.file: there is no directory "},
		{"audit in a file", []string{"--audit-file", bad + "/x.log"}, "audit.file: "},
		{"audit through a link to nowhere", []string{"--audit-file", link(t, filepath.Join(dir, "nodir", "x.log"))}, "audit.file: there is no directory " + filepath.Join(dir, "nodir")},
		{"audit through a link", []string{"--audit-file", link(t, filepath.Join(dir, "y.log"))}, serves},
		{"audit in a directory", []string{"--audit-file", filepath.Join(dir, "x.log")}, serves},
		{"audit in a directory to be made", []string{"--audit-file", "DATA/x.log"}, serves},
		{"audit is a directory", []string{"--audit-file", dir}, "audit.file: " + dir + " is a directory"},
		{"audit is a device", []string{"--audit-file", os.DevNull}, serves},
		{"parameter of a bucket", []string{"--storage-bucket", "file:///tmp/b?x=y"}, `storage.bucket: bucket: open file:///tmp/b: the parameter "x" is not supported`},
		{"relative bucket", []string{"--storage-bucket", "file://relative/x"}, "file://./relative/x for a relative directory"},
		{"bucket in memory with a name", []string{"--storage-bucket", "mem://x"}, "expected mem://"},
		{"one address twice", []string{"--addr", "127.0.0.1:7", "--debug-addr", ":7"}, "debug.addr: \":7\" takes the port of http.addr"},
		{"address with a mistake", []string{"--debug-addr", "256.1.1.1:1"}, `debug.addr: "256.1.1.1:1" is not HOST:PORT`},
		{"more free space than there is", []string{"--storage-min-free", "999TiB"}, serves},
		{"no level", []string{"--log-level", ""}, "log.level"},
		{"no format", []string{"--log-format", ""}, "log.format"},
		{"memory for all", []string{"--storage-bucket", "mem://", "--addr", "0.0.0.0:0"}, "auth.htpasswd"},
		{"memory for this machine", []string{"--storage-bucket", "mem://"}, serves},
		{"service", []string{"--auth-service", `a b"c`, "--auth-mode", "berth"}, "auth.service"},
		{"host", []string{"--http-hosts", "http://registry.lan"}, "http.hosts"},
		{"home", []string{"--audit-file", "~/x.log"}, "only a shell expands"},
	} {
		t.Run(test.name, func(t *testing.T) {
			data := newData(t)
			args := []string{"--addr", "127.0.0.1:0", "--data", data}
			for _, arg := range test.args {
				args = append(args, strings.ReplaceAll(arg, "DATA", data))
			}
			check := berth(t, nil, append([]string{"config", "check"}, args...)...)
			if test.want == serves {
				if check.code != 0 {
					t.Errorf("check: %+v", check)
				}
				p := serve(t, data, nil, args[4:]...)
				p.stop()
				return
			}
			started := berth(t, []string{"BERTH_LOG_FORMAT=text"}, append([]string{"serve"}, args...)...)
			for name, r := range map[string]result{"check": check, "serve": started} {
				if r.code != 1 || !strings.Contains(r.stderr, test.want) {
					t.Errorf("%s: code %d, %q does not say %q", name, r.code, r.stderr, test.want)
				}
			}
			if _, err := os.Stat(data); err == nil {
				t.Error("serve made the data directory")
			}
		})
	}
}

// TestCheckWritesNothing: the check makes neither the data nor the audit file.
func TestCheckWritesNothing(t *testing.T) {
	t.Parallel()
	data, file := newData(t), filepath.Join(t.TempDir(), "audit.log")
	if r := berth(t, nil, "config", "check", "--data", data, "--audit-file", file); r.code != 0 {
		t.Errorf("%+v", r)
	}
	for _, path := range []string{data, file} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("the check made %s", path)
		}
	}
}

// TestFaultyLinesAreReported: both commands say which lines of an htpasswd file are left out, and
// that a file has hashes of a low cost. The other users can log in.
func TestFaultyLinesAreReported(t *testing.T) {
	t.Parallel()
	hash, err := login.HashPassword("secret", 8)
	if err != nil {
		t.Fatal(err)
	}
	low := "$2y$05$Pb5cMvDn7w2n8n8dC6V2HOmIqYqV2k8oHqGm1Zg0Q9u3Yv0a1b2c3" // as htpasswd -B makes them
	file := writeFile(t, "htpasswd", "alice:"+hash+"\nbob\ncarol:"+low+"\n")
	r := berth(t, nil, "config", "check", "--auth-htpasswd", file)
	for _, want := range []string{"berth: error: auth.htpasswd: " + file + ":2: expected NAME:HASH; a user of this line cannot log in\n", "berth: warning: auth.htpasswd: " + file + " has hashes of the bcrypt cost 5"} {
		if r.code != 0 || strings.Count(r.stderr, want) != 1 {
			t.Errorf("check does not say %q: %+v", want, r)
		}
	}
	p := serve(t, newData(t), nil, "--auth-htpasswd", file)
	if status := p.status(basic("alice", "secret")...); status != 200 {
		t.Errorf("alice: %d", status)
	}
	if status := p.status(basic("bob", "secret")...); status != 401 {
		t.Errorf("bob: %d", status)
	}
	p.stop()
	log := p.log.String()
	if strings.Count(log, file+":2: expected NAME:HASH") != 1 || strings.Count(log, "of the bcrypt cost 5") != 1 || !strings.Contains(log, `"level":"ERROR"`) {
		t.Errorf("log: %s", log)
	}
}

// link returns a symbolic link to the target through another link, which is relative.
func link(t *testing.T, target string) string {
	t.Helper()
	dir := t.TempDir()
	for name, target := range map[string]string{"one": "two", "two": target} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "one")
}

// readTestFile returns the text of a file.
func readTestFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
