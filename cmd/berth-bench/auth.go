package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The users of a registry with authentication: benchUser does the work, spyUser may only use
// repositories below its own name.
const (
	benchUser     = "bench"
	spyUser       = "spy"
	benchPassword = "the password of everyone here"
)

// benchPolicy has ten rules, of which only the last one allows benchUser to push.
const benchPolicy = `policy:
  - {name: public, who: [anonymous, authenticated], repos: ["public/**"], allow: [pull]}
  - {name: team-a, who: ["group:team-a"], repos: ["team-a/**"], allow: [push, delete]}
  - {name: team-b, who: ["group:team-b"], repos: ["team-b/**"], allow: [push, delete]}
  - {name: staff, who: [authenticated, "!group:contractors"], repos: ["team-a/**", "base/**"], allow: [pull, catalog]}
  - {name: deployer, who: ["robot:deployer"], when: {ip: ["10.20.0.0/16"]}, repos: ["prod/**"], allow: [pull]}
  - {name: release, who: ["group:release"], repos: ["prod/**"], allow: [push]}
  - {name: mirror, who: ["robot:mirror"], repos: ["mirror/*/*"], allow: [push]}
  - {name: admins, who: ["group:admins"], repos: ["**"], allow: [push, delete, catalog]}
  - {name: keep, who: [authenticated], repos: ["prod/**"], deny: [delete]}
  - {name: own, who: [authenticated], repos: ["{user}/**"], allow: [push, delete]}
`

func (k kind) withAuth() bool { return k == againstOpen || k == authPair || k == authAlone }

// floodClients is the number of clients in a flood of logins.
const floodClients = 500

const (
	floodRampUp   = 2 * time.Second         // until all clients have started; as long as a login waits
	floodCooldown = 2500 * time.Millisecond // until no login is waiting any more
)

// authScenarios measure authentication and authorization.
func authScenarios(c *content, z sizes) ([]scenario, error) {
	img, err := c.image(contentID(10, 0, 0), 5)
	if err != nil {
		return nil, err
	}
	const tag = "latest"
	path := manifestPath(benchRepo, tag)
	push := func(ctx context.Context, cl *client) error { return cl.pushImage(ctx, benchRepo, tag, img) }
	get := func(ctx context.Context, cl *client, _ int) error { return cl.get(ctx, path, int64(len(img.manifest))) }
	requests := func(setup func(context.Context, *client) error, op func(context.Context, *client, int) error) *work {
		return &work{setup: setup, op: op, ops: z.requests, cycles: z.cycles, clients: clients, warmUpOps: z.requests}
	}
	asBench := func(ctx context.Context, cl *client) error {
		if err := cl.fetchToken(ctx, benchUser, "repository:"+benchRepo+":pull,push"); err != nil {
			return err
		}
		return push(ctx, cl)
	}
	// One long cycle, because the server needs a while to become idle after a flood.
	pulls := func() *work {
		return &work{setup: asBench, op: get, ops: z.requests * z.cycles, cycles: 1, clients: clients, warmUpOps: z.requests}
	}
	pullsInFlood, f := pulls(), &flood{}
	pullsInFlood.prepare, pullsInFlood.cleanup = f.begin, f.end
	return append([]scenario{
		{name: "token-get-tag", title: "manifest GET by tag with a token, against none", unit: "request", limit: ratioLimit(1.6), kind: againstOpen,
			base: requests(push, get), work: requests(asBench, get)},
		{name: "token-login", title: "token for a known password", unit: "token", limit: &Limit{Kind: limitCPU, Max: float64(500 * time.Microsecond)}, kind: authAlone,
			work: requests(func(ctx context.Context, cl *client) error {
				cl.header = basicHeader(benchUser, benchPassword)
				return nil
			}, func(ctx context.Context, cl *client, _ int) error {
				return cl.get(ctx, tokenPath("repository:"+benchRepo+":pull,push"), -1)
			})},
		{name: "token-flood", title: fmt.Sprintf("p99 of a GET with a token, %d wrong logins at once, against none", floodClients), unit: "request", limit: ratioLimit(2), kind: authPair,
			metric: sample.p99, base: pulls(), work: pullsInFlood},
	}, timingOracles(z, asBench, img)...), nil
}

// timingOracles compare the times of answers that must not reveal whether something exists. They
// have no target: tests compare the answers and count the work.
func timingOracles(z sizes, asBench func(context.Context, *client) error, img image) []scenario {
	wrongLogin := func(name string) *work {
		var n atomic.Int64
		return &work{ops: z.logins, cycles: 1, clients: 1, op: func(ctx context.Context, cl *client, _ int) error {
			return cl.wrongLogin(ctx, name, int(n.Add(1)), http.StatusUnauthorized)
		}}
	}
	asSpy := func(ctx context.Context, cl *client) error {
		if err := asBench(ctx, cl); err != nil {
			return err
		}
		return cl.fetchToken(ctx, spyUser, "repository:"+benchRepo+":pull repository:spy/app:pull,push")
	}
	ask := func(method, path string, want, ops int) *work {
		return &work{setup: asSpy, ops: ops, cycles: z.cycles, clients: 1, warmUpOps: ops, op: func(ctx context.Context, cl *client, _ int) error {
			_, _, err := cl.exchange(ctx, method, path, nil, want)
			return err
		}}
	}
	mount := func(digest string) string {
		return "/v2/spy/app/blobs/uploads/?mount=" + url.QueryEscape(digest) + "&from=" + url.QueryEscape(benchRepo)
	}
	return []scenario{
		{name: "oracle-user", title: "p50 of a wrong login, nobody's name against a user's", unit: "login", kind: authPair, metric: sample.p50,
			base: wrongLogin(benchUser), work: wrongLogin("nobody")},
		{name: "oracle-repository", title: "p50 of a refused pull, of what there is against what there is not", unit: "request", kind: authPair, metric: sample.p50,
			base: ask(http.MethodGet, manifestPath("bench/gone", "latest"), http.StatusUnauthorized, z.requests),
			work: ask(http.MethodGet, manifestPath(benchRepo, "latest"), http.StatusUnauthorized, z.requests)},
		{name: "oracle-mount", title: "p50 of a refused mount, of what there is against what there is not", unit: "request", kind: authPair, metric: sample.p50,
			base: ask(http.MethodPost, mount(digestOf([]byte("nowhere"))), http.StatusAccepted, changesPerCycle),
			work: ask(http.MethodPost, mount(img.layers[0].digest), http.StatusAccepted, changesPerCycle)},
	}
}

// runAuth measures a subject with users.
func (b *bench) runAuth(ctx context.Context, sc scenario) (_ Result, err error) {
	root, err := b.makeDir(sc.name)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, truncateLargeFiles(root)) }()
	dir, policy := filepath.Join(root, "guarded"), filepath.Join(root, "policy.yaml")
	if err := os.WriteFile(policy, []byte(cmp.Or(sc.policy, benchPolicy)), 0o644); err != nil {
		return Result{}, err
	}
	for _, name := range []string{benchUser, spyUser} {
		if err := addUser(ctx, b.subject.path, dir, name); err != nil {
			return Result{}, err
		}
	}
	guarded := b.subject
	guarded.name += " with users"
	open := guarded.args
	guarded.args = func(addr, dir string) []string {
		args := append(open(addr, dir), "--auth-policy", policy)
		if sc.kind == authPair { // its clients have different addresses
			args = append(args, "--http-trusted-proxies", "127.0.0.1")
		}
		return args
	}
	if sc.work.seed != nil {
		if err := b.fill(ctx, guarded, dir, sc.work.seed); err != nil {
			return Result{}, err
		}
	}
	var shared *server
	start := func(ctx context.Context, _ int) (*server, error) {
		var err error
		shared, err = guarded.start(ctx, dir)
		return shared, err
	}
	switch sc.kind {
	case againstOpen:
		onOpen := func(ctx context.Context, _ int) (*server, error) {
			return b.subject.start(ctx, filepath.Join(root, "open"))
		}
		return b.comparePairs(ctx, sc, side{b.subject.name, sc.base, onOpen}, side{guarded.name, sc.work, start})
	case authAlone:
		return b.comparePairs(ctx, sc, side{guarded.name, sc.work, start})
	}
	again := func(context.Context, int) (*server, error) { return shared, nil }
	return b.comparePairs(ctx, sc, side{guarded.name, sc.base, start}, side{guarded.name, sc.work, again})
}

// addUser adds a user to a registry that is not running.
func addUser(ctx context.Context, berth, dir, name string) error {
	cmd := exec.CommandContext(ctx, berth, "user", "add", name, "--password-stdin", "--data", dir)
	cmd.Env = cleanEnv(os.Environ())
	cmd.Stdin = strings.NewReader(benchPassword)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return nil
}

func basicHeader(name, password string) map[string]string {
	return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))}
}

func tokenPath(scope string) string { return "/v2/auth?scope=" + url.QueryEscape(scope) }

// fetchToken fetches a registry token for a user, and uses it for all later requests of the client.
func (c *client) fetchToken(ctx context.Context, name, scope string) error {
	res, err := c.withHeader(basicHeader(name, benchPassword)).do(ctx, http.MethodGet, tokenPath(scope), nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var issued struct{ Token string }
	if err := json.NewDecoder(res.Body).Decode(&issued); err != nil {
		return err
	}
	c.header = map[string]string{"Authorization": "Bearer " + issued.Token}
	return nil
}

// wrongLogin logs in with a wrong password, from the n-th address.
func (c *client) wrongLogin(ctx context.Context, name string, n, want int) error {
	h := basicHeader(name, fmt.Sprintf("wrong %d %d", n, time.Now().UnixNano()))
	h["X-Forwarded-For"] = fmt.Sprintf("10.%d.%d.%d", n>>16&0xff, n>>8&0xff, n&0xff)
	_, _, err := c.withHeader(h).exchange(ctx, http.MethodGet, tokenPath("repository:"+benchRepo+":pull"), nil, want)
	return err
}

// flood is a number of clients that log in repeatedly with wrong passwords.
type flood struct {
	client  *client
	stop    context.CancelFunc
	done    sync.WaitGroup
	count   atomic.Int64
	answers atomic.Int64
}

// begin starts the flood over its own connections. It returns after the first 429.
func (f *flood) begin(ctx context.Context, cl *client, cycle, _ int) (err error) {
	if cycle == warmUpCycle {
		return nil
	}
	if f.client, err = newClient(cl.base.String(), floodClients); err != nil {
		return err
	}
	ctx, f.stop = context.WithCancel(ctx)
	f.answers.Store(0)
	for i := range floodClients {
		f.done.Go(func() {
			// Spread the starts. Later logins stay spread, because each takes floodRampUp.
			time.Sleep(time.Duration(i) * floodRampUp / floodClients)
			for ctx.Err() == nil {
				// Most answers are 429. The others have cost the server a comparison.
				if err := f.client.wrongLogin(ctx, benchUser, int(f.count.Add(1)), http.StatusTooManyRequests); err == nil {
					f.answers.Add(1)
				}
			}
		})
	}
	for f.answers.Load() == 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// end stops the flood and waits until the server is idle.
func (f *flood) end(_ context.Context, _ *client, cycle, _ int) error {
	if cycle == warmUpCycle {
		return nil
	}
	f.stop()
	f.done.Wait()
	f.client.close()
	time.Sleep(floodCooldown)
	return nil
}
