package conformance

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// webUI is a web UI of a registry: a page that a browser loads from an origin of its own.
type webUI struct {
	t    testing.TB
	plan uiPlan
	port string
	// found gets what the page found.
	found chan map[string]uiAnswer
}

// uiPlan is what the page is to do.
type uiPlan struct {
	Registry    string `json:"registry"` // URL
	Repository  string `json:"repository"`
	Digest      string `json:"digest"`          // of an image in it, for a page that cannot read it
	Basic       string `json:"basic,omitempty"` // value of Authorization
	Wrong       string `json:"wrong,omitempty"` // value of Authorization with a wrong password
	Login       string `json:"login,omitempty"` // URL with which the browser learns a password
	Credentials string `json:"credentials"`     // the credentials mode of fetch
}

// uiAnswer is an answer as the page sees it: its fields have lower case.
type uiAnswer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
	Error   string            `json:"error"` // the browser's, which hid the answer
}

func startWebUI(t testing.TB) *webUI {
	t.Helper()
	ui := &webUI{t: t, found: make(chan map[string]uiAnswer, 1)}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir("testdata/ui")))
	mux.HandleFunc("/plan", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(ui.plan) })
	mux.HandleFunc("/found", func(w http.ResponseWriter, r *http.Request) {
		var found map[string]uiAnswer
		if err := json.NewDecoder(r.Body).Decode(&found); err != nil {
			t.Errorf("what the page found: %v", err)
		}
		ui.found <- found
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	ui.port = server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	return ui
}

// origin returns the origin of the page under a name of the loopback.
func (ui *webUI) origin(name string) string { return "http://" + name + ":" + ui.port }

// visit loads the page in a new Chromium and returns what it found.
func (ui *webUI) visit(name string, plan uiPlan) map[string]uiAnswer {
	ui.t.Helper()
	c := debianClient(ui.t, "chromium", "chromium")
	ui.plan = plan
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-breakpad",
		"--no-first-run", "--disable-popup-blocking", "--disable-background-networking", "--no-proxy-server", "--user-data-dir="+c.home, ui.origin(name)+"/")
	cmd.Env = append(os.Environ(), c.env...)
	cmd.SysProcAttr = dieWithParent()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		ui.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case found := <-ui.found:
		cancel()
		<-ended
		return found
	case err := <-ended:
		ui.t.Fatalf("Chromium ended before the page was done: %v", err)
		return nil
	}
}

// uiWant is what the page is to find of one call.
type uiWant struct {
	status int    // 0: the browser hides the answer
	in     string // part of the body, or "field: value"
}

// requireFound compares what the page found with what it is to find. A call that is not in wants
// may have any result.
func (ui *webUI) requireFound(found map[string]uiAnswer, wants map[string]uiWant) {
	ui.t.Helper()
	for name, want := range wants {
		got, ok := found[name]
		in := strings.Contains(got.Body, want.in)
		if field, value, isField := strings.Cut(want.in, ": "); isField {
			in = strings.Contains(got.Headers[field], value)
		}
		if !ok || got.Status != want.status || (got.Error != "") != (want.status == 0) || !in {
			ui.t.Errorf("%s: got %+v, expected %+v", name, got, want)
		}
	}
}

// browsed is what a page that may call the registry finds when it browses it.
func browsed(how, digest string, wants map[string]uiWant) map[string]uiWant {
	wants[how+" catalog"] = uiWant{200, `link: </v2/_catalog?last=`}
	wants[how+" tags"] = uiWant{200, `"` + how + `"`}
	wants[how+" manifest"] = uiWant{200, "docker-content-digest: " + digest}
	wants[how+" config"] = uiWant{200, `"rootfs"`}
	wants[how+" range"] = uiWant{206, "content-range: bytes 0-9/"}
	wants[how+" delete"] = uiWant{202, ""}
	wants[how+" deleted"] = uiWant{404, "MANIFEST_UNKNOWN"}
	return wants
}

// authorization returns the value of Authorization with an account's password.
func (a account) authorization() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(a.name+":"+a.password))
}

// TestWebUI has Chromium load a page that calls a registry with users from another origin. The page
// sends the user's password and tokens that it fetches, or leaves the password to the browser.
func TestWebUI(t *testing.T) {
	t.Parallel()
	ui := startWebUI(t)
	g := startAuthServer(t, options{Args: []string{"--http-cors-origins", ui.origin("localhost"), "--http-cors-credentials"}})
	ofToken, ofBasic := newImageLayout(t, 10<<10), newImageLayout(t, 10<<10)
	g.seed(ofToken, "alice/app", "token")
	g.seed(ofBasic, "alice/app", "basic")
	g.seed(ofBasic, "alice/other", "basic")
	// Where everyone gets a token, the browser is never asked for a password.
	usersOnly, _, _ := strings.Cut(usersPolicy, "  - name: everyone")
	if err := os.WriteFile(g.policy, []byte(usersOnly), 0o644); err != nil {
		t.Fatal(err)
	}
	g.awaitLog(1, reloaded)
	sends := uiPlan{
		Registry: g.URL, Repository: "alice/app", Digest: ofToken.digest, Credentials: "omit",
		Basic: g.alice.authorization(), Wrong: account{"alice", g.wrong}.authorization(),
	}
	// Of one site with the page, since browsers keep passwords from pages of other sites.
	sameSite := strings.Replace(g.Addr, "127.0.0.1", "localhost", 1)
	leaves := uiPlan{
		Registry: "http://" + sameSite, Repository: "alice/other", Digest: ofBasic.digest, Credentials: "include",
		Login: "http://" + g.alice.name + ":" + g.alice.password + "@" + sameSite + "/v2/auth",
	}

	for _, plan := range []uiPlan{sends, leaves} {
		found := ui.visit("127.0.0.1", plan)
		for name, got := range found {
			if got.Status != 0 || len(got.Headers) > 0 || got.Body != "" {
				t.Errorf("a page of an origin that is not listed reads %s: %+v", name, got)
			}
		}
		if len(found) < 8 || g.status("/v2/"+plan.Repository+"/manifests/"+plan.Digest) != http.StatusOK {
			t.Errorf("a page of an origin that is not listed made %d calls and deleted an image", len(found))
		}
	}
	g.Await("a refused upload", func(l logLine) bool { return l.Method == "POST" && l.Status == http.StatusForbidden })

	ui.requireFound(ui.visit("localhost", sends), browsed("token", ofToken.digest, browsed("basic", ofBasic.digest, map[string]uiWant{
		"token catalog refused": {401, `www-authenticate: scope="registry:catalog:*"`},
		"token delete refused":  {401, `www-authenticate: scope="repository:alice/app:delete"`},
		"token delete token":    {200, `"token"`},
		"wrong password":        {401, "UNAUTHORIZED"},
		"elsewhere":             {403, "DENIED"},
	})))
	g.requireRequest("Mozilla/5.0", "OPTIONS", "alice/app", ofBasic.digest, http.StatusNoContent)

	ui.requireFound(ui.visit("localhost", leaves), browsed("basic", ofBasic.digest, map[string]uiWant{
		"log in":    {200, `"token"`},
		"elsewhere": {403, "DENIED"},
	}))
}

// TestWebUIOpen has Chromium load pages that call a registry without users: of an origin that
// http.cors.origins has, and of one that is only let in by "*".
func TestWebUIOpen(t *testing.T) {
	t.Parallel()
	ui := startWebUI(t)
	s := startBerth(t, options{Args: []string{"--http-cors-origins", ui.origin("localhost") + ",*"}})
	crane, image := goClient(t, clientModule, cranePackage), newImageLayout(t, 10<<10)
	for _, repository := range []string{"app", "other"} { // two, so that the catalog has a second page
		crane.run("push", "--insecure", image.dir, s.Addr+"/"+repository+":basic")
	}
	plan := uiPlan{Registry: s.URL, Repository: "app", Digest: image.digest, Credentials: "omit"}
	reads := browsed("basic", image.digest, map[string]uiWant{})
	reads["basic delete"] = uiWant{403, "http.cors.origins"}
	reads["basic deleted"] = uiWant{200, "docker-content-digest: " + image.digest}
	ui.requireFound(ui.visit("127.0.0.1", plan), reads)
	ui.requireFound(ui.visit("localhost", plan), browsed("basic", image.digest, map[string]uiWant{}))
}
