package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/berth-registry/berth/internal/testserver"
)

// TestReplicasAuth revokes tokens and removes a user. Each replica refuses them at the next request,
// also one that has accepted them before.
func TestReplicasAuth(t *testing.T) {
	t.Parallel()
	r := startReplicasWithUsers(t, 3, sharedStores(t))
	everywhere := func(path, authorization string, status int, what string) {
		t.Helper()
		for i, s := range r.list {
			c := &caller{base: s.URL, http: http.DefaultClient}
			c.do(request{method: "GET", path: path, header: map[string]string{"Authorization": authorization}}).
				require(t, status, "%s at replica %d", what, i)
		}
	}
	const ping = "/v2/"
	for range 3 {
		secret := r.berth("", "token", "create", "--owner", "alice", "--scope", "repository:alice/**:pull")
		authorization := account{"alice", secret}.authorization()
		everywhere(ping, authorization, http.StatusOK, "the new token")
		bearer := r.bearer(t, 0, authorization)
		everywhere(ping, bearer, http.StatusOK, "a bearer token of it")
		r.berth("", "token", "revoke", r.lastToken(t))
		everywhere(ping, authorization, http.StatusUnauthorized, "the revoked token")
		everywhere(ping, bearer, http.StatusUnauthorized, "a bearer token of the revoked one")
	}
	password := r.alice.authorization()
	everywhere(ping, password, http.StatusOK, "the password")
	var bearers []string
	for i := range r.list {
		bearers = append(bearers, r.bearer(t, i, password))
		everywhere(ping, bearers[i], http.StatusOK, fmt.Sprintf("a bearer token of replica %d", i))
	}
	r.berth("", "user", "remove", "alice")
	everywhere(ping, password, http.StatusUnauthorized, "the removed user's password")
	for _, b := range bearers {
		everywhere(ping, b, http.StatusUnauthorized, "the removed user's bearer token")
	}
}

// bearer gets a bearer token for repositories of alice from a replica.
func (r *replicas) bearer(t *testing.T, replica int, authorization string) string {
	t.Helper()
	c := &caller{base: r.list[replica].URL, http: http.DefaultClient}
	a := c.do(request{method: "GET", path: "/v2/auth?service=" + r.service(t) + "&scope=repository:alice/app:pull",
		header: map[string]string{"Authorization": authorization}}).require(t, http.StatusOK, "a bearer token")
	var got struct{ Token string }
	decode(t, string(a.body), &got)
	return "Bearer " + got.Token
}

// service returns the name of the registry in its challenges. All replicas must have the same.
func (r *replicas) service(t *testing.T) (name string) {
	t.Helper()
	for i, s := range r.list {
		a := (&caller{base: s.URL, http: http.DefaultClient}).do(request{method: "GET", path: "/v2/"}).
			require(t, http.StatusUnauthorized, "a ping without credentials")
		_, rest, _ := strings.Cut(a.header.Get("WWW-Authenticate"), `service="`)
		got, _, ok := strings.Cut(rest, `"`)
		if !ok || i > 0 && got != name {
			t.Fatalf("the challenge of replica %d is %q, that of another has the service %q", i, a.header.Get("WWW-Authenticate"), name)
		}
		name = got
	}
	return name
}

// lastToken returns the id of the newest token.
func (r *replicas) lastToken(t *testing.T) string {
	t.Helper()
	var list []struct {
		ID json.Number `json:"id"`
	}
	decode(t, r.berth("", "token", "list", "--json"), &list)
	if len(list) == 0 {
		t.Fatal("there is no token")
	}
	return list[len(list)-1].ID.String()
}

// TestReplicasFirstStart starts three replicas at the same moment on an empty database and bucket.
// All of them serve, as one registry with one signing key.
func TestReplicasFirstStart(t *testing.T) {
	t.Parallel()
	for round := range 4 {
		s := sharedStores(t)
		if round%2 == 1 {
			s.bucket = "file://" + t.TempDir()
		}
		r := startReplicasWithUsers(t, 3, s)
		r.service(t)
		for i := range r.list {
			bearer := r.bearer(t, i, r.alice.authorization())
			for j, replica := range r.list {
				(&caller{base: replica.URL, http: http.DefaultClient}).
					do(request{method: "GET", path: "/v2/", header: map[string]string{"Authorization": bearer}}).
					require(t, http.StatusOK, "replica %d with a token of replica %d", j, i)
			}
		}
		var keys []struct {
			State string `json:"state"`
		}
		decode(t, r.berth("", "key", "list", "--json"), &keys)
		if len(keys) != 1 {
			t.Errorf("there are %d keys, expected one: %v", len(keys), keys)
		}
		b := newContent(uint64(round), 1000, "sha256")
		for i, c := range r.callers() {
			repo := fmt.Sprintf("alice/first%d", i)
			c.post(repo, b).require(t, http.StatusCreated, "a push to replica %d", i)
			for j, other := range r.callers() {
				other.do(request{method: "GET", path: "/v2/" + repo + "/blobs/" + b.digest.String()}).
					require(t, http.StatusOK, "replica %d after a push to replica %d", j, i)
			}
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
