package api

import (
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/berth-registry/berth/auth/authtest"
	"github.com/berth-registry/berth/auth/login"
	"github.com/berth-registry/berth/auth/rows"
)

// bcryptRuns counts bcrypt comparisons, and can block them.
type bcryptRuns struct {
	mu                  sync.Mutex
	costs               []int // of the comparisons since takeCosts
	running, maxRunning int
	hold                chan struct{} // if set, each comparison waits until it is closed
	started             chan struct{}
}

// countRuns is a change of login.Options that counts the comparisons.
func (r *bcryptRuns) countRuns(o *login.Options) {
	o.BcryptRuns = 2
	o.Compare = r.compare
}

func (r *bcryptRuns) compare(hash, password []byte) error {
	cost, err := bcrypt.Cost(hash)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.costs = append(r.costs, cost)
	r.running++
	r.maxRunning = max(r.maxRunning, r.running)
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		r.started <- struct{}{}
		<-hold
	}
	err = bcrypt.CompareHashAndPassword(hash, password)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.running--
	return err
}

// takeCosts returns the costs of the comparisons since the last call.
func (r *bcryptRuns) takeCosts() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	costs := r.costs
	r.costs = nil
	return costs
}

// totalRounds returns the number of bcrypt rounds for comparisons of these costs.
func totalRounds(costs []int) (rounds int) {
	for _, cost := range costs {
		rounds += 1 << cost
	}
	return rounds
}

// newSiteBehindProxy returns a site that trusts X-Forwarded-For of its clients.
func newSiteBehindProxy(t *testing.T, r *bcryptRuns) *guardedSite {
	t.Helper()
	return newGuardedSite(t, Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, r.countRuns)
}

func forwardedFor(i int) header {
	return header{"X-Forwarded-For": fmt.Sprintf("198.51.%d.%d", i/250, i%250+1)}
}

func passwordForm(name, password string) string {
	return url.Values{"grant_type": {grantPassword}, "username": {name}, "password": {password}}.Encode()
}

var formHeader = header{"Content-Type": "application/x-www-form-urlencoded"}

// loginWays are the three ways to send a password.
var loginWays = map[string]func(g *guardedSite, name, password string, from header) (*http.Response, string){
	"for a token": func(g *guardedSite, name, password string, from header) (*http.Response, string) {
		return g.do("GET", tokenPath, basicHeader(name, password).with(from), "")
	},
	"in a form": func(g *guardedSite, name, password string, from header) (*http.Response, string) {
		return g.do("POST", tokenPath, formHeader.with(from), passwordForm(name, password))
	},
	"directly": func(g *guardedSite, name, password string, from header) (*http.Response, string) {
		return g.do("GET", pulled, basicHeader(name, password).with(from), "")
	},
}

// withoutIDs returns the answer without the parts that differ between equal requests.
func withoutIDs(resp *http.Response, body string) string {
	h := maps.Clone(resp.Header)
	delete(h, "Date")
	delete(h, "X-Request-Id")
	return fmt.Sprintf("%d %v %s", resp.StatusCode, h, body)
}

// TestA1UnknownUserCostsTheSame checks that wrong passwords of known and unknown users cost the
// same bcrypt rounds and get the same answer, for each way to send a password.
func TestA1UnknownUserCostsTheSame(t *testing.T) {
	const highest = 6
	r := &bcryptRuns{}
	g := newSiteBehindProxy(t, r)
	hash := must(bcrypt.GenerateFromPassword([]byte(g.keepSecret("password of dora", "password")), highest))
	g.tx(func(tx *rows.Tx) error {
		_, err := tx.CreateAccount(rows.Account{Kind: "user", Name: "dora", PasswordHash: g.keepSecret(string(hash), "hash"), PasswordCost: highest, CreatedAt: 1})
		return err
	})
	carol := g.accounts["user carol"]
	g.tx(func(tx *rows.Tx) error { return tx.SetDisabled(carol, true) })
	from := 0
	for way, show := range loginWays {
		first := ""
		for _, c := range []struct{ who, name, password string }{
			{"a user of the highest cost", "dora", "wrong"},
			{"a user of a lower cost", "alice", "wrong"},
			{"a disabled user", "carol", "wrong"},
			{"a disabled user's own password", "carol", passwordOf("carol")},
			{"nobody", "nobody", "wrong"},
			{"nobody, with another's password", "nobody", passwordOf("alice")},
			{"a robot's name", "deployer", "wrong"},
		} {
			from++
			g.clock.advance(time.Hour) // so that no verified password is cached
			answer := withoutIDs(show(g, c.name, c.password, forwardedFor(from)))
			if first == "" {
				first = answer
			}
			if answer != first || !strings.HasPrefix(answer, "401 ") {
				t.Errorf("%s, %s: %s\nbut the first is %s", way, c.who, answer, first)
			}
			if costs := r.takeCosts(); totalRounds(costs) != 1<<highest {
				t.Errorf("%s, %s: runs of costs %v, want the work of one of %d", way, c.who, costs, highest)
			}
		}
	}
}

// TestA2ParallelWrongLogins sends 500 wrong logins at once, each from another address. As many are
// compared as may run at once, and the others get 429. Callers with a token or a cached password
// are not affected.
func TestA2ParallelWrongLogins(t *testing.T) {
	const clients, places = 500, 2
	r := &bcryptRuns{}
	g := newSiteBehindProxy(t, r)
	token := g.tokenHeader("alice", "repository:team/app:pull")
	r.takeCosts()
	hold := make(chan struct{})
	r.hold, r.started = hold, make(chan struct{}, clients)
	type answer struct {
		status     int
		retryAfter string
		err        error
	}
	answers := make(chan answer, clients)
	for i := range clients {
		h := basicHeader("alice", g.keepSecret(fmt.Sprintf("guess number %d", i), "guess")).with(forwardedFor(i))
		go func() {
			req, err := http.NewRequest("GET", "http://"+g.addr+tokenPath, nil)
			if err != nil {
				answers <- answer{err: err}
				return
			}
			for k, v := range h {
				req.Header.Set(k, v)
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				answers <- answer{err: err}
				return
			}
			defer resp.Body.Close()
			_, err = io.Copy(io.Discard, resp.Body)
			answers <- answer{resp.StatusCode, resp.Header.Get("Retry-After"), err}
		}()
	}
	for range places {
		<-r.started
	}
	if got := g.status("GET", pulled, token, ""); got != 404 {
		t.Errorf("meanwhile a token is answered %d", got)
	}
	if got := g.status("GET", "/v2/", passwordHeader("alice"), ""); got != 200 {
		t.Errorf("meanwhile a password that was right a moment ago is answered %d", got)
	}
	release := sync.OnceFunc(func() { close(hold) })
	defer release() // also when the test fails, because the server waits for them
	for range clients - places {
		select {
		case a := <-answers:
			if a.err != nil || a.status != 429 || a.retryAfter == "" || a.retryAfter == "0" {
				t.Fatalf("one that waited: %+v", a)
			}
		case <-r.started:
			t.Fatalf("%d runs at once", places+1)
		}
	}
	release()
	for range places {
		if a := <-answers; a.err != nil || a.status != 401 {
			t.Errorf("one that ran: %+v", a)
		}
	}
	if costs := r.takeCosts(); len(costs) != places || r.maxRunning != places {
		t.Errorf("%d runs, %d at once, want %d", len(costs), r.maxRunning, places)
	}
	if got := g.status("GET", "/v2/", passwordHeader("bob").with(forwardedFor(1)), ""); got != 200 {
		t.Errorf("afterwards a right password from one of the addresses is answered %d", got)
	}
}

// TestA2OneAddress sends 500 wrong logins from one address, for a known and an unknown user. They
// cost ten comparisons. The users are not locked out at other addresses, nor are callers with a
// token at this address.
func TestA2OneAddress(t *testing.T) {
	const burst = 10
	r := &bcryptRuns{}
	g := newSiteBehindProxy(t, r)
	token := g.tokenHeader("alice", "repository:team/app:pull")
	personal, _ := g.addToken("user", "alice", "repository:team/**:pull")
	r.takeCosts()
	statuses := map[int]int{}
	here, elsewhere := forwardedFor(1), forwardedFor(2)
	for i := range 500 {
		name := []string{"alice", "nobody"}[i%2]
		resp, _ := g.do("GET", tokenPath, basicHeader(name, g.keepSecret(fmt.Sprintf("guess number %d", i), "guess")).with(here), "")
		statuses[resp.StatusCode]++
		if (resp.Header.Get("Retry-After") != "") != (resp.StatusCode == 429) {
			t.Fatalf("%d with Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
		}
	}
	if costs := r.takeCosts(); len(costs) != burst || !maps.Equal(statuses, map[int]int{401: burst, 429: 500 - burst}) {
		t.Errorf("%d runs, answers %v", len(costs), statuses)
	}
	for name, c := range map[string]struct {
		h    header
		want int
	}{
		"the user, from elsewhere":       {basicHeader("carol", passwordOf("carol")).with(elsewhere), 200},
		"the user attacked, elsewhere":   {passwordHeader("alice").with(elsewhere), 200},
		"from here, a token":             {token.with(here), 200},
		"from here, a personal token":    {basicHeader("alice", personal).with(here), 200},
		"from here, a password unproved": {passwordHeader("bob").with(here), 429},
	} {
		if got := g.status("GET", "/v2/", c.h, ""); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestA2OddPasswords checks that texts that cannot be a password cost no comparison, have no effect
// on the user, and get the answer of a wrong password.
func TestA2OddPasswords(t *testing.T) {
	r := &bcryptRuns{}
	g := newSiteBehindProxy(t, r)
	right := passwordOf("alice")
	for i, c := range []struct {
		what, name, password string
		form, direct         int // statuses
		runs                 int // of both together
	}{
		{"73 bytes", "alice", strings.Repeat("x", 73), 401, 401, 0},
		{"right, and more, to 73 bytes", "alice", right + strings.Repeat("\x20", 73-len(right)), 401, 401, 0},
		{"72 bytes", "alice", strings.Repeat("x", 72), 401, 401, 1},
		{"20 KiB", "alice", strings.Repeat("x", 20<<10), 401, 401, 0},
		{"1 MiB", "alice", strings.Repeat("x", 1<<20), 400, 431, 0},
		{"NUL", "alice", "\x00", 401, 401, 0},
		{"right, then NUL", "alice", right + "\x00", 401, 401, 0},
		{"right, then NUL and more", "alice", right + "\x00more", 401, 401, 0},
		{"invalid UTF-8", "alice", "\xff\xfe\xc3(", 401, 401, 1},
		{"nothing", "alice", "", 401, 401, 0},
		{"NUL in the name", "alice\x00", right, 401, 401, 0},
		{"invalid UTF-8 in the name", "al\xffice", right, 401, 401, 0},
		{"a long name", strings.Repeat("a", 1000), right, 401, 401, 0},
		{"a line end in the name", "alice\nlevel=ERROR", right, 401, 401, 0},
	} {
		r.takeCosts()
		if c.password != "" {
			g.keepSecret(c.password, c.what)
		}
		from := forwardedFor(i)
		resp, _ := g.do("POST", tokenPath, formHeader.with(from), passwordForm(c.name, c.password))
		if resp.StatusCode != c.form {
			t.Errorf("%s in a form: %d, want %d", c.what, resp.StatusCode, c.form)
		}
		h := header{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(c.name+":"+c.password))}
		if got := g.status("GET", tokenPath, h.with(from), ""); got != c.direct {
			t.Errorf("%s as Basic: %d, want %d", c.what, got, c.direct)
		}
		if costs := r.takeCosts(); len(costs) != c.runs {
			t.Errorf("%s: %d runs, want %d", c.what, len(costs), c.runs)
		}
	}
	// A colon ends the name in Basic credentials, but is part of the name in a form.
	if got := g.status("GET", tokenPath, basicHeader("alice:x", right), ""); got != 401 {
		t.Errorf("a colon in the name: %d", got)
	}
	if got := g.status("POST", tokenPath, formHeader, passwordForm("alice:"+right, "")); got != 401 {
		t.Errorf("a colon in a form's name: %d", got)
	}
	if got := g.status("GET", "/v2/", passwordHeader("alice"), ""); got != 200 {
		t.Errorf("alice is then answered %d", got)
	}
}

// TestA3StalePassword has a job try an old password a thousand times, in each way. That costs one
// comparison a minute and one attempt of its address.
func TestA3StalePassword(t *testing.T) {
	const burst = 10
	r := &bcryptRuns{}
	g := newSiteBehindProxy(t, r)
	stale := g.keepSecret("the password before", "stale password")
	ways := slices.Sorted(maps.Keys(loginWays))
	for minute := range 3 {
		for i := range 1000 {
			resp, _ := loginWays[ways[i%len(ways)]](g, "alice", stale, nil)
			if resp.StatusCode != 401 {
				t.Fatalf("minute %d, attempt %d: %d", minute, i, resp.StatusCode)
			}
			g.clock.advance(59 * time.Millisecond)
		}
		if costs := r.takeCosts(); len(costs) != 1 {
			t.Errorf("minute %d: %d runs", minute, len(costs))
		}
		g.clock.advance(time.Second)
	}
	g.clock.advance(time.Minute) // the attempts are refilled
	resp, _ := loginWays[ways[0]](g, "alice", stale, nil)
	if resp.StatusCode != 401 {
		t.Errorf("the stale one again: %d", resp.StatusCode)
	}
	for i := range burst - 1 {
		if resp, _ = loginWays[ways[0]](g, "alice", g.keepSecret(fmt.Sprintf("guess number %d", i), "guess"), nil); resp.StatusCode != 401 {
			t.Errorf("attempt %d beside the stale one: %d", i+1, resp.StatusCode)
		}
	}
	if resp, _ = loginWays[ways[0]](g, "alice", g.keepSecret("one guess too many", "guess"), nil); resp.StatusCode != 429 {
		t.Errorf("one attempt too many: %d", resp.StatusCode)
	}
}

// exchangeFrom sends an ID token to the token endpoint, from the i-th address.
func (g *guardedSite) exchangeFrom(i int, idToken string) int {
	g.t.Helper()
	return g.status("GET", tokenPath, basicHeader("oidc", idToken).with(forwardedFor(i)), "")
}

// TestX3IssuerLeadsElsewhere checks that URLs in an issuer's documents do not lead to requests to
// other hosts. ID tokens are then neither accepted nor answered as wrong, nor is the
// client told to try again.
func TestX3IssuerLeadsElsewhere(t *testing.T) {
	elsewhere := authtest.NewProvider(t)
	document := func(g *guardedSite, jwks string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			authtest.WriteJSON(w, map[string]any{"issuer": g.ci.URL, "jwks_uri": jwks})
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	for name, lead := range map[string]func(g *guardedSite){
		"keys of another host": func(g *guardedSite) {
			g.ci.Handle(authtest.DiscoveryPath, document(g, elsewhere.URL+authtest.KeysPath))
		},
		"keys of the cloud": func(g *guardedSite) { g.ci.Handle(authtest.DiscoveryPath, document(g, "https://169.254.169.254/keys")) },
		"keys over http":    func(g *guardedSite) { g.ci.Handle(authtest.DiscoveryPath, document(g, "http://"+g.addr+jwksPath)) },
		"keys of a file":    func(g *guardedSite) { g.ci.Handle(authtest.DiscoveryPath, document(g, "file:///etc/passwd")) },
		"discovery redirected": func(g *guardedSite) {
			g.ci.Handle(authtest.DiscoveryPath, redirect(elsewhere.URL+authtest.DiscoveryPath))
		},
		"keys redirected":       func(g *guardedSite) { g.ci.Handle(authtest.KeysPath, redirect(elsewhere.URL+authtest.KeysPath)) },
		"keys redirected to us": func(g *guardedSite) { g.ci.Handle(authtest.KeysPath, redirect("http://"+g.addr+jwksPath)) },
	} {
		g := newGuardedSite(t, Options{})
		lead(g)
		resp, body := g.do("GET", tokenPath, basicHeader("oidc", g.idToken("acme/app")), "")
		if resp.StatusCode != 500 || resp.Header.Get("Retry-After") != "" || !strings.Contains(body, "as it is configured") {
			t.Errorf("%s: %d %v %s", name, resp.StatusCode, resp.Header, body)
		}
		g.log.await("set keys of the issuer in auth.policy")
		if strings.Contains(g.log.String(), `"route":"keys"`) {
			t.Errorf("%s: we were asked ourselves", name)
		}
	}
	if n := elsewhere.TotalRequests(); n != 0 {
		t.Errorf("another host had %d requests", n)
	}
}

// TestX3HugeKeys checks that the reading of a key set of 100 MiB stops long before its end.
func TestX3HugeKeys(t *testing.T) {
	const size = 100 << 20
	g := newGuardedSite(t, Options{})
	sent := make(chan int, 1)
	g.ci.Handle(authtest.KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		n, err := io.WriteString(w, `{"keys":["`)
		for filler := strings.Repeat("a", 64<<10); err == nil && n < size; {
			var more int
			more, err = io.WriteString(w, filler)
			n += more
		}
		sent <- n
	})
	if got := g.status("GET", tokenPath, basicHeader("oidc", g.idToken("acme/app")), ""); got != 503 {
		t.Errorf("answered %d", got)
	}
	if n := <-sent; n >= size/2 {
		t.Errorf("%d bytes of it were taken", n)
	}
}

// TestX3UnknownKeys sends many tokens with unknown keys from many addresses. The issuer gets one
// request in 30 seconds, and valid jobs can log in meanwhile.
func TestX3UnknownKeys(t *testing.T) {
	g := newSiteBehindProxy(t, &bcryptRuns{})
	claims := map[string]any{
		"iss": g.ci.URL, "aud": "https://" + service, "sub": "job", "repository": "acme/app", "jti": "1",
		"iat": g.clock.Now().Unix(), "nbf": g.clock.Now().Unix(), "exp": g.clock.Now().Add(time.Hour).Unix(),
	}
	good := g.keepSecret(authtest.SignWith(t, g.ci.Key(), claims), "id_token")
	stranger := authtest.NewProvider(t).Key()
	for second := range 120 {
		for i := range 3 {
			stranger.KeyID = fmt.Sprintf("kid-%d-%d", second, i)
			if got := g.exchangeFrom(3*second+i, g.keepSecret(authtest.SignWith(t, stranger, claims), "id_token")); got != 401 {
				t.Fatalf("an unknown key is answered %d", got)
			}
		}
		if got := g.exchangeFrom(1000+second, good); got != 200 {
			t.Fatalf("a good job is answered %d", got)
		}
		g.clock.advance(time.Second)
	}
	if n := g.ci.Requests(authtest.KeysPath); n > 5 {
		t.Errorf("the keys were fetched %d times in 120 seconds", n)
	}
	if n := g.ci.Requests(authtest.DiscoveryPath); n != 1 {
		t.Errorf("%d discoveries", n)
	}
}
