package oidc

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/authtest"
)

func serveJSON(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { authtest.WriteJSON(w, v) }
}

// discovery serves the usual discovery document with changes.
func (w *world) discovery(changes map[string]any) http.HandlerFunc {
	document := map[string]any{"issuer": w.URL, "jwks_uri": w.URL + authtest.KeysPath}
	for name, v := range changes {
		document[name] = v
	}
	return serveJSON(document)
}

// fetches returns how many times the keys were requested.
func (w *world) fetches() int { return w.Requests(authtest.KeysPath) }

// TestX3UnknownKeys sends many tokens with unknown key ids. They cause one request in 30 seconds,
// and valid tokens are accepted all the while. Tests of attacks are named after the numbers in
// docs/security.md.
func TestX3UnknownKeys(t *testing.T) {
	w := newWorld(t)
	good := w.Sign(job(map[string]any{"exp": w.time().Add(time.Hour).Unix()}))
	claims := w.goodClaims(t)
	claims["exp"] = w.time().Add(time.Hour).Unix()
	for second := range 301 {
		for i := range 3 {
			w.mustRefuse(t, authtest.SignWith(t, newKey(t, fmt.Sprintf("kid-%d-%d", second, i)), claims), auth.ErrCredentials, errUnknownKey.Error())
		}
		w.mustVerify(t, good)
		w.advance(time.Second)
	}
	if n := w.fetches(); n != 11 {
		t.Errorf("%d fetches in 300 seconds, expected 11", n)
	}
	if n := w.Requests(authtest.DiscoveryPath); n != 1 {
		t.Errorf("%d discoveries in 300 seconds, expected 1", n)
	}
}

// TestConcurrentCallersShareOneFetch checks that callers wait while another one fetches the keys.
func TestConcurrentCallersShareOneFetch(t *testing.T) {
	w := newWorld(t)
	token := w.Sign(job(nil))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := w.source.Verify(t.Context(), token); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := w.TotalRequests(); n != 2 {
		t.Errorf("%d requests, expected one discovery and one fetch", n)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t)
	old := w.Key()
	w.mustVerify(t, w.Sign(job(nil)))
	w.Rotate()
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrCredentials, errUnknownKey.Error()) // too early to ask
	w.advance(minFetchInterval)
	w.mustVerify(t, w.Sign(job(nil)))
	w.mustRefuse(t, authtest.SignWith(t, old, w.goodClaims(t)), auth.ErrCredentials, errUnknownKey.Error())
}

// TestWithdrawnKey checks that a key that is no longer published is rejected, even if no token with
// another key ever arrives.
func TestWithdrawnKey(t *testing.T) {
	w := newWorld(t)
	old := w.Key()
	w.mustVerify(t, w.Sign(job(nil)))
	w.Rotate()
	w.advance(refreshAfter - time.Second)
	w.mustVerify(t, authtest.SignWith(t, old, w.goodClaims(t)))
	w.advance(time.Second)
	w.mustRefuse(t, authtest.SignWith(t, old, w.goodClaims(t)), auth.ErrCredentials, errUnknownKey.Error())
}

// TestOutage checks that tokens are not reported as wrong while the issuer cannot be reached, and
// that they are accepted again afterwards.
func TestOutage(t *testing.T) {
	w := newWorld(t)
	w.Fail(true)
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "discovery: 503")
	w.Fail(false)
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "discovery: 503") // too early to ask
	w.advance(minFetchInterval)
	w.mustVerify(t, w.Sign(job(nil)))

	// Fetched keys are used during an outage, for a while.
	w.Fail(true)
	for range 3 {
		w.advance(refreshAfter)
		w.mustVerify(t, w.Sign(job(nil)))
	}
	w.advance(refreshAfter)
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "503")
	w.Fail(false)
	w.advance(minFetchInterval)
	w.mustVerify(t, w.Sign(job(nil)))
	if !strings.Contains(w.log.String(), "cannot be fetched") {
		t.Error("the log says nothing")
	}
}

// TestUnknownKeyInOutage checks that an unknown key is reported as unavailable, because it may be a
// new one.
func TestUnknownKeyInOutage(t *testing.T) {
	w := newWorld(t)
	w.mustVerify(t, w.Sign(job(nil)))
	w.Rotate()
	w.advance(minFetchInterval)
	w.Handle(authtest.KeysPath, http.NotFound)
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "404")
}

// moveKeys publishes a new key under another URL, and serves h under the old one.
func (w *world) moveKeys(h http.HandlerFunc) {
	w.Rotate()
	w.Handle(authtest.KeysPath, h)
	w.Handle("/moved", serveJSON(map[string]any{"keys": []any{w.PublicKey()}}))
	w.Handle(authtest.DiscoveryPath, w.discovery(map[string]any{"jwks_uri": w.URL + "/moved"}))
}

// TestDiscoveryIsRepeated checks that the discovery document is read again after refreshAfter.
func TestDiscoveryIsRepeated(t *testing.T) {
	w := newWorld(t)
	w.mustVerify(t, w.Sign(job(nil)))
	w.moveKeys(serveJSON(map[string]any{"keys": []any{w.PublicKey()}}))
	w.advance(refreshAfter - time.Second)
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrCredentials, errUnknownKey.Error())
	w.advance(minFetchInterval)
	w.mustVerify(t, w.Sign(job(nil)))
}

// TestDiscoveryAfterLostKeys checks that the discovery document is read again in the next attempt
// after the keys could not be fetched.
func TestDiscoveryAfterLostKeys(t *testing.T) {
	w := newWorld(t)
	w.mustVerify(t, w.Sign(job(nil)))
	w.moveKeys(http.NotFound)
	w.advance(minFetchInterval)
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "404")
	w.advance(minFetchInterval)
	w.mustVerify(t, w.Sign(job(nil)))
}

// TestX3OtherHosts checks that URLs and redirects to another host or to http are not
// followed.
func TestX3OtherHosts(t *testing.T) {
	elsewhere := authtest.NewProvider(t) // its certificate is trusted, too
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("asked over http") }))
	t.Cleanup(plain.Close)
	for name, c := range map[string]struct {
		path   string
		answer func(w *world) http.HandlerFunc
		reason string
		never  bool // no later attempt can succeed
	}{
		"jwks_uri of another host": {authtest.DiscoveryPath, func(w *world) http.HandlerFunc {
			return w.discovery(map[string]any{"jwks_uri": elsewhere.URL + authtest.KeysPath})
		}, "not https on the issuer's host", true},
		"jwks_uri over http": {authtest.DiscoveryPath, func(w *world) http.HandlerFunc {
			return w.discovery(map[string]any{"jwks_uri": plain.URL + "/keys"})
		}, "not https on the issuer's host", true},
		"jwks_uri inside": {authtest.DiscoveryPath, func(w *world) http.HandlerFunc {
			return w.discovery(map[string]any{"jwks_uri": "https://169.254.169.254/latest/meta-data"})
		}, "not https on the issuer's host", true},
		"jwks_uri a file": {authtest.DiscoveryPath, func(w *world) http.HandlerFunc {
			return w.discovery(map[string]any{"jwks_uri": "file:///etc/passwd"})
		}, "not https on the issuer's host", true},
		"no jwks_uri": {authtest.DiscoveryPath, func(w *world) http.HandlerFunc {
			return w.discovery(map[string]any{"jwks_uri": ""})
		}, "no jwks_uri", true},
		"discovery redirected": {authtest.DiscoveryPath, func(*world) http.HandlerFunc {
			return redirect(elsewhere.URL + authtest.DiscoveryPath)
		}, "not https on the issuer's host", true},
		"keys redirected": {authtest.KeysPath, func(*world) http.HandlerFunc {
			return redirect(elsewhere.URL + authtest.KeysPath)
		}, "not https on the issuer's host", true},
		"keys redirected to http": {authtest.KeysPath, func(*world) http.HandlerFunc {
			return redirect(plain.URL)
		}, "not https on the issuer's host", true},
		"redirected for ever": {authtest.KeysPath, func(*world) http.HandlerFunc {
			return redirect(authtest.KeysPath)
		}, "more than 2 redirects", false},
		"document of another issuer": {authtest.DiscoveryPath, func(w *world) http.HandlerFunc {
			return w.discovery(map[string]any{"issuer": elsewhere.URL})
		}, "did not match", false},
		"no document": {authtest.DiscoveryPath, func(*world) http.HandlerFunc { return http.NotFound }, "404", false},
		"no JSON":     {authtest.KeysPath, func(*world) http.HandlerFunc { return serveJSON("keys") }, "no set of keys", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.trust(t, elsewhere.CAFile)
			w.Handle(c.path, c.answer(w))
			kind := auth.ErrUnavailable
			if c.never {
				kind = auth.ErrMisconfigured
			}
			w.mustRefuse(t, w.Sign(job(nil)), kind, c.reason)
		})
	}
	if n := elsewhere.TotalRequests(); n != 0 {
		t.Errorf("another host had %d requests", n)
	}
}

// TestKeysOfTheConfiguration checks that keys on another host are used if the configuration names
// them, without discovery, and that redirects stay on that host.
func TestKeysOfTheConfiguration(t *testing.T) {
	elsewhere := authtest.NewProvider(t)
	w := newWorld(t)
	w.trust(t, elsewhere.CAFile)
	name := func(keys string) {
		issuer := w.configured()[0]
		issuer.Keys = elsewhere.URL + keys
		w.configure(issuer)
	}
	name("/jwks")
	elsewhere.Handle("/jwks", serveJSON(map[string]any{"keys": []any{w.PublicKey()}}))
	w.mustVerify(t, w.Sign(job(nil)))
	if n := w.TotalRequests(); n != 0 {
		t.Errorf("the issuer had %d requests", n)
	}
	name("/moved")
	elsewhere.Handle("/moved", redirect("/jwks"))
	w.mustVerify(t, w.Sign(job(nil)))
	name("/away")
	for _, to := range []string{w.URL + authtest.KeysPath, "http" + strings.TrimPrefix(elsewhere.URL, "https") + "/jwks"} {
		elsewhere.Handle("/away", redirect(to))
		w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "the host of keys, which auth.policy names, leads to another host or from https")
		w.advance(minFetchInterval)
	}
	if strings.Contains(w.log.String(), errNeedsKeys.Error()) {
		t.Errorf("keys are set, and the log says to set them:\n%s", w.log)
	}
	if n := w.TotalRequests(); n != 0 {
		t.Errorf("the issuer had %d requests", n)
	}
}

// TestLongRedirect checks that the reason is not cut off where the host of keys redirects to a long
// URL, such as one of a page to log in on, and that nothing repeats the URL.
func TestLongRedirect(t *testing.T) {
	w := newWorld(t)
	issuer := w.configured()[0]
	issuer.Keys = w.URL + authtest.KeysPath
	w.configure(issuer)
	w.Handle(authtest.KeysPath, redirect("https://sso.example/?state=hunter2"+strings.Repeat("x", maxErrorText)))
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "refused to ask https://sso.example: the host of keys, which")
	if strings.Contains(w.log.String(), "hunter2") {
		t.Errorf("the log repeats the URL: %s", w.log)
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// trust adds a file of certificates to those that the source trusts.
func (w *world) trust(t *testing.T, file string) {
	t.Helper()
	var all []byte
	for _, f := range []string{w.CAFile, file} {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	issuer := w.configured()[0]
	issuer.CA = filepath.Join(t.TempDir(), "all.pem")
	if err := os.WriteFile(issuer.CA, all, 0o600); err != nil {
		t.Fatal(err)
	}
	w.configure(issuer)
}

func TestRedirectOnTheHost(t *testing.T) {
	w := newWorld(t)
	w.Handle("/here", serveJSON(map[string]any{"keys": []any{w.PublicKey()}}))
	w.Handle(authtest.KeysPath, redirect("/here"))
	w.mustVerify(t, w.Sign(job(nil)))
}

func TestIssuerOverHTTP(t *testing.T) {
	w := newWorld(t)
	issuer := w.configured()[0]
	issuer.URL = "http" + strings.TrimPrefix(w.URL, "https")
	w.configure(issuer)
	w.mustRefuse(t, w.Sign(job(map[string]any{"iss": issuer.URL})), auth.ErrMisconfigured, "not https")
}

// TestX3HugeDocuments checks that a response of 100 MiB is abandoned after 1 MiB.
func TestX3HugeDocuments(t *testing.T) {
	for _, path := range []string{authtest.DiscoveryPath, authtest.KeysPath} {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t)
			sent := make(chan int, 1)
			w.Handle(path, func(rw http.ResponseWriter, _ *http.Request) { sent <- writeLong(rw, 100<<20) })
			w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "more than 1048576 bytes")
			if n := <-sent; n >= 100<<20 {
				t.Errorf("the answer was read to its end, %d bytes", n)
			}
		})
	}
}

// writeLong writes n bytes of a JSON document and returns how many could be written.
func writeLong(w http.ResponseWriter, n int) int {
	w.Header().Set("Content-Type", "application/json")
	sent, err := w.Write([]byte(`{"keys":["`))
	filler := []byte(strings.Repeat("a", 64<<10))
	for err == nil && sent < n {
		var m int
		m, err = w.Write(filler)
		sent += m
	}
	return sent
}

// TestLongReason checks that long texts of a provider or a token are shortened in errors and in the
// log.
func TestLongReason(t *testing.T) {
	w := newWorld(t)
	w.Handle(authtest.DiscoveryPath, func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusInternalServerError)
		writeLong(rw, maxDocument/2)
	})
	_, err := w.source.Verify(t.Context(), w.Sign(job(nil)))
	if !errors.Is(err, auth.ErrUnavailable) || len(err.Error()) > 2*maxErrorText || w.log.Len() > 3*maxErrorText {
		t.Errorf("%d bytes of error, %d of log", len(err.Error()), w.log.Len())
	}
	_, err = w.source.Verify(t.Context(), w.Sign(job(map[string]any{"iss": strings.Repeat("x", maxToken/2)})))
	if !errors.Is(err, auth.ErrCredentials) || len(err.Error()) > 2*maxErrorText {
		t.Errorf("%d bytes of error", len(err.Error()))
	}
}

// TestStalled checks that a request to an issuer that does not answer times out, even if the client
// goes on waiting.
func TestStalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Handle(authtest.DiscoveryPath, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w.mustRefuse(t, w.Sign(job(nil)), auth.ErrUnavailable, "deadline exceeded")
}

func TestCertificates(t *testing.T) {
	w := newWorld(t)
	token := w.Sign(job(nil))
	issuer := w.configured()[0]
	issuer.CA = ""
	w.configure(issuer)
	w.mustRefuse(t, token, auth.ErrUnavailable, "certificate")

	issuer.CA = filepath.Join(t.TempDir(), "private.pem")
	w.configure(issuer)
	w.mustRefuse(t, token, auth.ErrUnavailable, "no such file")
	if err := os.WriteFile(issuer.CA, []byte("not yet"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.advance(minFetchInterval)
	w.mustRefuse(t, token, auth.ErrUnavailable, "no certificate (PEM)")
	text, err := os.ReadFile(w.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(issuer.CA, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w.advance(minFetchInterval)
	w.mustVerify(t, token)
}

// TestRemovedIssuersAreForgotten checks that the keys of issuers that are no longer configured are
// dropped.
func TestRemovedIssuersAreForgotten(t *testing.T) {
	w := newWorld(t)
	w.mustVerify(t, w.Sign(job(nil)))
	other := authtest.NewProvider(t)
	other.Now = w.time
	w.configure(other.Issuer("other", "{claims.sub}", audience))
	w.mustVerify(t, other.Sign(job(nil)))
	if n := len(w.source.keys); n != 1 {
		t.Errorf("%d issuers are remembered, one is configured", n)
	}
}
