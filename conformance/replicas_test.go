package conformance

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// replicas are several `berth serve` over one database and one bucket, behind nginx. They have the
// same settings, keep nothing on their own disks, and know nothing of each other.
type replicas struct {
	*server // nginx, for requests and clients; it has no process of its own and no log
	list    []*server
	alice   account // the zero value without users

	dir string   // for files of the test
	env []string // locates the stores, also for commands
}

// stores are the settings of a registry's database and bucket.
type stores struct{ database, bucket string }

func (s stores) env() []string {
	return []string{"BERTH_DATABASE_URL=" + s.database, "BERTH_STORAGE_BUCKET=" + s.bucket}
}

// sharedStores returns a new database on PostgreSQL and a new bucket on S3, of servers that the
// tests share.
func sharedStores(t testing.TB) stores {
	t.Helper()
	return stores{testserver.PostgresURL(t), testserver.S3(t)}
}

// startReplicas starts n replicas at the same moment on empty stores, and nginx, which gives each
// request to the next of them. env is added to the environment of each replica.
func startReplicas(t *testing.T, n int, s stores, env ...string) *replicas {
	t.Helper()
	r := &replicas{dir: t.TempDir(), env: s.env()}
	o := options{
		Program: berthBinary(t),
		Env:     slices.Concat(r.env, env),
		Args:    []string{"--http-trusted-proxies", "127.0.0.1"},
	}
	for i := range n {
		o.Data = filepath.Join(r.dir, fmt.Sprint("replica", i))
		r.list = append(r.list, newServer(t, o))
	}
	started := make([]error, n)
	var wg sync.WaitGroup
	for i, replica := range r.list {
		wg.Go(func() { started[i] = replica.startFirst() })
	}
	wg.Wait()
	for i, err := range started {
		if err != nil {
			t.Fatalf("replica %d: %v", i, err)
		}
	}
	addr := startBalancer(t, r.list)
	r.server = &server{t: t, URL: "http://" + addr, Addr: addr, client: http.DefaultClient}
	return r
}

// startReplicasWithUsers is startReplicas with the users and the policy of startAuthServer. A
// command on the same database adds the users while the replicas run.
func startReplicasWithUsers(t *testing.T, n int, s stores, env ...string) *replicas {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(policy, []byte(usersPolicy), 0o644); err != nil {
		t.Fatal(err)
	}
	r := startReplicas(t, n, s, append(env, "BERTH_AUTH_POLICY="+policy)...)
	r.alice = account{"alice", rand.Text()}
	r.berth(r.alice.password, "user", "add", r.alice.name, "--password-stdin")
	r.client = &http.Client{Transport: basic{r.alice, http.DefaultTransport}}
	return r
}

// startBalancer starts nginx before servers and returns its address. Requests go to one server
// after the other, over connections that are kept.
func startBalancer(t testing.TB, servers []*server) (addr string) {
	t.Helper()
	var upstream strings.Builder
	for _, s := range servers {
		upstream.WriteString("        server " + s.Addr + ";\n")
	}
	addr = testserver.FreeAddr(t)
	nginx := proxyPrograms[0]
	nginx.start(t, addr, t.TempDir(), `    upstream berth {
`+upstream.String()+`        keepalive 16;
    }
    server {
        listen `+addr+`;
        location / {
            proxy_pass              http://berth;
            proxy_http_version      1.1;
            proxy_set_header        Connection "";
            proxy_set_header        Host $http_host;
            proxy_set_header        X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header        X-Forwarded-Proto $scheme;
            client_max_body_size    0;
            proxy_request_buffering off;
            proxy_buffering         off;
            proxy_read_timeout      900s;
            proxy_send_timeout      900s;
        }
    }
`)
	return addr
}

// berth runs a command on the stores of the replicas and returns its output.
func (r *replicas) berth(stdin string, args ...string) string {
	r.t.Helper()
	out, err := feed("", []byte(stdin), r.env, berthBinary(r.t), append(args, "--data", filepath.Join(r.dir, "command"))...)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// Requests returns the requests that match in the logs of all replicas.
func (r *replicas) Requests(match func(logLine) bool) []logLine {
	var found []logLine
	for _, s := range r.list {
		found = append(found, s.Requests(match)...)
	}
	return found
}

// requireShared requires that each replica served requests of a client for a repository, and that
// none of them failed.
func (r *replicas) requireShared(t *testing.T, agent, repository string) {
	t.Helper()
	for i, s := range r.list {
		s.Await(fmt.Sprintf("replica %d for %s in %s", i, agent, repository), func(l logLine) bool {
			return strings.HasPrefix(l.UserAgent, agent) && l.Repository == repository
		})
	}
	for _, l := range r.Requests(func(l logLine) bool {
		return strings.HasPrefix(l.UserAgent, agent) && l.Status >= 400 && l.Status != http.StatusNotFound && l.Status != http.StatusUnauthorized
	}) {
		t.Errorf("refused: %s", l.Raw)
	}
}

// TestReplicasOCISuite runs the suite against three replicas.
func TestReplicasOCISuite(t *testing.T) {
	t.Parallel()
	for _, v := range suiteVersions {
		for login, wrap := range suiteLogins {
			t.Run(v.name+login, func(t *testing.T) {
				start := startReplicasWithUsers
				if login == "" {
					start = startReplicas
				}
				r := start(t, 3, sharedStores(t), v.server...)
				addr, env := wrap(t, r.Addr, r.alice)
				v.check(t, r, addr, env, login)
				for i, s := range r.list {
					if len(s.Requests(func(logLine) bool { return true })) == 0 {
						t.Errorf("replica %d served nothing", i)
					}
					if _, err := os.Stat(s.Data); err == nil {
						t.Errorf("replica %d made a data directory", i)
					}
				}
			})
		}
	}
}

// TestOCISuiteStores runs the suite against one server with each kind of stores.
func TestOCISuiteStores(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) stores{
		"S3_PostgreSQL":    sharedStores,
		"GCS_PostgreSQL":   func(t testing.TB) stores { return stores{testserver.PostgresURL(t), testserver.GCS(t)} },
		"Azure_SQLite":     func(t testing.TB) stores { return stores{"sqlite:" + t.TempDir() + "/berth.db", testserver.Azure(t)} },
		"Files_PostgreSQL": func(t testing.TB) stores { return stores{testserver.PostgresURL(t), "file://" + t.TempDir()} },
	} {
		for _, v := range suiteVersions {
			t.Run(name+"/"+v.name, func(t *testing.T) {
				s := startBerth(t, options{Env: append(open(t).env(), v.server...)})
				v.check(t, s, s.Addr, nil, "")
			})
		}
	}
}
