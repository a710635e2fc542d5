package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/auth/rows"
	"github.com/berth-registry/berth/storage"
)

// serveHTTP2 serves the site on another address too, over unencrypted HTTP/2. It returns a
// transport for HTTP/2 and the address.
func (s *site) serveHTTP2() (http.RoundTripper, string) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	server := s.server()
	server.Protocols.SetUnencryptedHTTP2(true)
	s.serveOn(l, server)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	s.t.Cleanup(transport.CloseIdleConnections)
	return transport, l.Addr().String()
}

// pendingRequest is a request that was sent except for the last byte of its body.
type pendingRequest struct {
	name   string
	finish func()   // sends the last byte
	status chan int // 0 for a request without an answer
}

// sendAllButLast sends a request except for the last byte of its body, and waits until the server
// has read the others.
func (s *site) sendAllButLast(via http.RoundTripper, what, method, url string, h header, body string) *pendingRequest {
	s.t.Helper()
	p := &pendingRequest{name: what, status: make(chan int, 1)}
	out, in := io.Pipe()
	req, err := http.NewRequest(method, url, out)
	if err != nil {
		s.t.Fatal(err)
	}
	req.ContentLength = int64(len(body))
	for k, v := range h {
		req.Header.Set(k, v)
	}
	p.finish = func() {
		fmt.Fprint(in, body[len(body)-1:])
		in.Close()
	}
	before, _ := s.bodyBytes.now()
	go func() {
		resp, err := via.RoundTrip(req)
		if err != nil {
			s.t.Errorf("%s: %v", what, err)
			p.status <- 0
			return
		}
		resp.Body.Close()
		p.status <- resp.StatusCode
	}()
	fmt.Fprint(in, body[:len(body)-1])
	s.bodyBytes.await(before + int64(len(body)-1))
	return p
}

// startWrites starts each kind of write, over HTTP/1.1 and HTTP/2, and leaves it pending. name
// makes the content unique. checkNothing checks that none of it is stored.
func (s *site) startWrites(name string, h header) (writes []*pendingRequest, checkNothing func()) {
	s.t.Helper()
	var gets []string
	for protocol, start := range map[string]func() (http.RoundTripper, string){
		"HTTP/1.1": func() (http.RoundTripper, string) { return http.DefaultTransport, s.addr },
		"HTTP/2":   s.serveHTTP2,
	} {
		via, addr := start()
		park := func(what, method, path, body string, more header) {
			s.t.Helper()
			writes = append(writes, s.sendAllButLast(via, protocol+" "+what, method, "http://"+addr+path, h.with(more), body))
		}
		tag := strings.NewReplacer("HTTP/", "http-", ".", "-").Replace(protocol)
		payload := image("{}", "layer", `,"annotations":{"for":"`+name+protocol+`"}`)
		park("manifest PUT", "PUT", "/v2/team/app/manifests/"+tag, payload, header{"Content-Type": imageType})
		whole, closing := "whole, "+name+protocol, "closing, "+name+protocol
		park("monolithic POST", "POST", uploads+"?digest="+sha256Of(whole), whole, nil)
		s.exchange(exchangeCase{Name: "open", Method: "POST", URL: uploads, Header: h, WantCode: 202, Save: "upload"})
		park("closing PUT", "PUT", s.saved["upload"]+"?digest="+sha256Of(closing), closing, nil)
		s.exchange(exchangeCase{Name: "open", Method: "POST", URL: uploads, Header: h, WantCode: 202, Save: "upload"})
		park("PATCH", "PATCH", s.saved["upload"], "chunk", nil)
		gets = append(gets, "/v2/team/app/manifests/"+tag, "/v2/team/app/blobs/"+sha256Of(whole), "/v2/team/app/blobs/"+sha256Of(closing))
	}
	return writes, func() {
		s.t.Helper()
		for _, path := range gets {
			s.exchange(exchangeCase{Name: name + ": nothing is stored", Method: "HEAD", URL: path, Header: passwordHeader("carol"), WantCode: 404})
		}
	}
}

const carolPolicy = usualPolicy + `
  - {name: watch, who: ["user:carol"], repos: ["**"], allow: [pull]}
`

const writersPolicy = carolPolicy + `
  - {name: writers, who: ["user:erin", "robot:builder", "oidc:ci"], repos: ["team/**"], allow: [push]}
`

// TestR1RemovedRightsEnd starts writes, removes something of the caller's, and finishes the writes.
func TestR1RemovedRightsEnd(t *testing.T) {
	const scope = "repository:team/app:pull,push"
	for _, c := range []struct {
		name string
		show func(g *guardedSite) header
		take func(g *guardedSite)
		want int // status; 0 if the writes succeed
	}{
		{"a password, nothing is taken", byPassword, func(*guardedSite) {}, 0},
		{"a token, which expires", byToken, func(g *guardedSite) { g.clock.advance(lifetime + 2*time.Minute) }, 0},
		{"a token, whose grace ends", byToken, func(g *guardedSite) { g.clock.advance(lifetime + grace + time.Hour) }, 0},
		{"a personal token, which expires", byPersonal, func(g *guardedSite) { g.clock.advance(100 * 24 * time.Hour) }, 0},
		{"a password, the user is removed", byPassword, removeErin, 401},
		{"a token, the user is removed", byToken, removeErin, 401},
		{"a personal token, the user is removed", byPersonal, removeErin, 401},
		{"a password, the user is disabled", byPassword, disableErin, 401},
		{"a token, the user is disabled", byToken, disableErin, 401},
		{"a password, which is changed", byPassword, changeErin, 401},
		{"a token, whose password is changed", byToken, changeErin, 401},
		{"a personal token, which is revoked", byPersonal, revokePersonal, 401},
		{"a token of a personal token, which is revoked", func(g *guardedSite) header {
			i, _ := g.requestToken(byPersonal(g), scope)
			return bearerHeader(i.Token)
		}, revokePersonal, 401},
		{"a token, whose key is revoked", byToken, func(g *guardedSite) {
			keys, err := g.rows.SigningKeys(g.t.Context())
			if err != nil {
				g.t.Fatal(err)
			}
			g.tx(func(tx *rows.Tx) error { return tx.DeleteSigningKey(keys[0].KID) })
			if err := g.API.auth.Tokens.Maintain(context.Background()); err != nil {
				g.t.Fatal(err)
			}
		}, 401},
		{"a password, the policy changes", byPassword, removeRule, 403},
		{"a token, the policy changes", byToken, removeRule, 401},
		{"a CI job, whose issuer wants more", func(g *guardedSite) header {
			i, _ := g.requestToken(basicHeader("oidc", g.idToken("acme/app")), scope)
			return bearerHeader(i.Token)
		}, func(g *guardedSite) {
			g.policy.issuers = strings.Replace(g.policy.issuers, "acme/*", "other/*", 1)
			g.policy.set(g.t, writersPolicy)
		}, 401},
	} {
		g := newGuardedSite(t, Options{})
		g.policy.set(t, writersPolicy)
		g.addUser("erin")
		g.pushBlobAs(passwordHeader("alice"), "team/app", "{}")
		g.pushBlobAs(passwordHeader("alice"), "team/app", "layer")
		writes, nothing := g.startWrites("x", c.show(g))
		c.take(g)
		g.clock.advance(2 * reauthorizeAfter)
		for _, w := range writes {
			w.finish()
			status := <-w.status
			if c.want != 0 && status != c.want || c.want == 0 && status != 201 && status != 202 {
				t.Errorf("%s: %s is answered %d, want %d", c.name, w.name, status, c.want)
			}
		}
		if c.want != 0 {
			nothing()
		}
	}
}

func byPassword(g *guardedSite) header { return passwordHeader("erin") }
func byToken(g *guardedSite) header    { return g.tokenHeader("erin", "repository:team/app:pull,push") }

func byPersonal(g *guardedSite) header {
	secret, _ := g.addToken("user", "erin", "repository:team/**:push")
	return basicHeader("erin", secret)
}

func removeErin(g *guardedSite) {
	g.tx(func(tx *rows.Tx) error { return tx.DeleteAccount(g.accounts["user erin"]) })
}

func disableErin(g *guardedSite) {
	g.tx(func(tx *rows.Tx) error { return tx.SetDisabled(g.accounts["user erin"], true) })
}

func changeErin(g *guardedSite) {
	hash := g.hash("another password of erin")
	g.tx(func(tx *rows.Tx) error { return tx.SetPassword(g.accounts["user erin"], hash, 4) })
}

func revokePersonal(g *guardedSite) {
	g.tx(func(tx *rows.Tx) error { return tx.DeleteAuthTokensOf(g.accounts["user erin"]) })
}

func removeRule(g *guardedSite) { g.policy.set(g.t, carolPolicy) }

// TestR1OpenRegistryCloses starts writes in an open registry, which gets users before they are
// finished.
func TestR1OpenRegistryCloses(t *testing.T) {
	registry := newRegistry(t, "mem://", storage.Options{})
	open := serveRegistry(t, registry, Options{Policy: auth.Open{}})
	open.pushBlob("team/app", "{}")
	open.pushBlob("team/app", "layer")
	writes, nothing := open.startWrites("x", nil)
	closed := serveGuarded(t, registry, Options{})
	open.Supersede(closed.API)
	for _, w := range writes {
		w.finish()
		if status := <-w.status; status != 401 {
			t.Errorf("%s is answered %d, want 401", w.name, status)
		}
	}
	nothing()
}
