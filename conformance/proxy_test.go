package conformance

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

const (
	operatePage = "../docs/operate.md"
	// proxied is the server's name in the page's configurations.
	proxied = "registry.example"
)

// proxyProgram is a reverse proxy with a configuration in docs/operate.md.
type proxyProgram struct {
	name     string // of the program
	pkg      string // Debian package
	language string // of the code block
	// listen is the address in the page's configuration, and its replacement with ADDR and PORT.
	listen [2]string
	config func(dir, block string) string // returns the complete file
	args   []string                       // before the file's name
}

// proxyPrograms are the proxies with a configuration in docs/operate.md.
var proxyPrograms = []proxyProgram{
	{"nginx", "nginx", "nginx", [2]string{"listen              443", "listen ADDR"}, nginxConfig, []string{"-e", "stderr", "-c"}},
	{"apache2", "apache2-bin", "apache", [2]string{"<VirtualHost *:443>", "Listen ADDR\n<VirtualHost *:PORT>"}, apacheConfig, []string{"-DFOREGROUND", "-f"}},
	{"haproxy", "haproxy", "haproxy", [2]string{"bind :443", "bind ADDR"}, haproxyConfig, []string{"-db", "-f"}},
	{"caddy", "caddy", "caddyfile", [2]string{proxied + " {", proxied + ":PORT {\n    bind 127.0.0.1"}, caddyConfig, []string{"run", "--adapter", "caddyfile", "--config"}},
}

func nginxConfig(dir, block string) string {
	var b strings.Builder
	if os.Getuid() == 0 {
		b.WriteString("user root;\n") // other users cannot read the test's directory
	}
	b.WriteString("daemon off;\npid " + filepath.Join(dir, "pid") + ";\nevents {}\nhttp {\n    access_log off;\n")
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		b.WriteString("    " + kind + "_temp_path " + filepath.Join(dir, kind) + ";\n")
	}
	return b.String() + block + "}\n"
}

func apacheConfig(dir, block string) string {
	const modules = "/usr/lib/apache2/modules/" // path on Debian
	var b strings.Builder
	for _, name := range []string{"mpm_event", "authz_core", "headers", "ssl", "http2", "proxy", "proxy_http"} {
		b.WriteString("LoadModule " + name + "_module " + modules + "mod_" + name + ".so\n")
	}
	if os.Getuid() == 0 {
		b.WriteString("User www-data\nGroup www-data\n")
	}
	b.WriteString("ServerName " + proxied + "\nErrorLog " + filepath.Join(dir, "log") + "\nDefaultRuntimeDir " + dir + "\nPidFile " + filepath.Join(dir, "pid") + "\n")
	return b.String() + block
}

func haproxyConfig(_, block string) string { return block }

// caddyConfig keeps Caddy from using other ports, and from adding its own authority to those that
// the machine trusts.
func caddyConfig(_, block string) string {
	return "{\n    admin off\n    skip_install_trust\n    auto_https disable_redirects\n}\n" + block
}

// proxy is a running proxy with TLS, HTTP/1.1 and HTTP/2.
type proxy struct {
	*authority
	addr string
}

// startProxy starts a proxy in front of a server, with the page's configuration.
func startProxy(t testing.TB, program proxyProgram, s *server) *proxy {
	t.Helper()
	p := &proxy{newAuthority(t, proxied), testserver.FreeAddr(t)}
	dir := t.TempDir()
	program.start(t, p.addr, dir, p.block(t, program, dir, s))
	return p
}

// start starts the program with a part of its configuration. It returns when the program listens on
// addr. dir gets its files.
func (program proxyProgram) start(t testing.TB, addr, dir, block string) {
	t.Helper()
	c := debianClient(t, program.name, program.pkg)
	text := program.config(dir, block)
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(c.path, append(program.args, config)...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.SysProcAttr = stopWithParent()
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err := <-ended
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log")) // not every program has one
			t.Logf("%s, which ended with %v, had\n%s\nand said\n%.8000s%.8000s", program.name, err, text, said.String(), log)
		}
	})
	if err := awaitUp(ended, func() error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}); err != nil {
		t.Fatalf("%s does not listen: %v", program.name, err)
	}
}

// block returns the page's configuration for a program, with the addresses and files of this test.
func (p *proxy) block(t testing.TB, program proxyProgram, dir string, s *server) string {
	t.Helper()
	_, rest, found := strings.Cut(readFile(t, operatePage), "\n```"+program.language+"\n")
	block, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatalf("%s has no block of %s", operatePage, program.language)
	}
	both := filepath.Join(dir, "both.pem")
	if err := os.WriteFile(both, []byte(readFile(t, p.certificate)+readFile(t, p.key)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	from, to := program.listen[0], strings.NewReplacer("ADDR", p.addr, "PORT", port).Replace(program.listen[1])
	if strings.Count(block, from) != 1 || strings.Count(block, "127.0.0.1:5000") != 1 {
		t.Fatalf("the block of %s has not what is to be changed:\n%s", program.language, block)
	}
	return strings.NewReplacer(from, to, "127.0.0.1:5000", s.Addr, "/etc/ssl/registry.crt", p.certificate,
		"/etc/ssl/registry.key", p.key, "/etc/ssl/registry.pem", both).Replace(block)
}

// tls returns a client's configuration for the proxy and its name.
func (p *proxy) tls() *tls.Config {
	config := p.config()
	config.ServerName = proxied
	return config
}

// client returns a client of the proxy with a user's password, by HTTP/2 if second is set,
// otherwise by HTTP/1.1.
func (p *proxy) client(second bool, a account) *http.Client {
	t := &http.Transport{
		TLSClientConfig: p.tls(),
		Protocols:       new(http.Protocols),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, p.addr)
		},
	}
	t.Protocols.SetHTTP1(!second)
	t.Protocols.SetHTTP2(second)
	return &http.Client{Transport: basic{a, t}}
}
