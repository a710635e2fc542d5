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

// serveHTTP2 serves the site on another address too, by HTTP/2 without TLS, and returns a transport
// that speaks only that, and the address.
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

// parked is a request of which all but the last byte was sent.
type parked struct {
	what string
	last func() // sends the last byte
	done chan int
}

// park sends all but the last byte of a request's body and waits until the server has it.
func (s *site) park(via http.RoundTripper, what, method, url string, h header, body string) *parked {
	s.t.Helper()
	p := &parked{what: what, done: make(chan int, 1)}
	out, in := io.Pipe()
	req, err := http.NewRequest(method, url, out)
	if err != nil {
		s.t.Fatal(err)
	}
	req.ContentLength = int64(len(body))
	for k, v := range h {
		req.Header.Set(k, v)
	}
	p.last = func() {
		fmt.Fprint(in, body[len(body)-1:])
		in.Close()
	}
	before, _ := s.read.now()
	go func() {
		resp, err := via.RoundTrip(req)
		if err != nil {
			s.t.Errorf("%s: %v", what, err)
			p.done <- 0
			return
		}
		resp.Body.Close()
		p.done <- resp.StatusCode
	}()
	fmt.Fprint(in, body[:len(body)-1])
	s.read.await(before + int64(len(body)-1))
	return p
}

// parkWrites parks each kind of write, over HTTP/1.1 and HTTP/2. The names of tags, blobs and
// sessions begin with name.
func (s *site) parkWrites(name string, h header) (writes []*parked, nothing func()) {
	s.t.Helper()
	var gets []string
	for protocol, start := range map[string]func() (http.RoundTripper, string){
		"HTTP/1.1": func() (http.RoundTripper, string) { return http.DefaultTransport, s.addr },
		"HTTP/2":   s.serveHTTP2,
	} {
		via, addr := start()
		park := func(what, method, path, body string, more header) {
			s.t.Helper()
			writes = append(writes, s.park(via, protocol+" "+what, method, "http://"+addr+path, h.with(more), body))
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

const watched = usual + `
  - {name: watch, who: ["user:carol"], repos: ["**"], allow: [pull]}
`

const writers = watched + `
  - {name: writers, who: ["user:erin", "robot:builder", "oidc:ci"], repos: ["team/**"], allow: [push]}
`

// TestR1RemovedRightsEnd parks writes just before their end, takes something away from the caller,
// and ends them.
func TestR1RemovedRightsEnd(t *testing.T) {
	const scope = "repository:team/app:pull,push"
	for _, c := range []struct {
		name string
		show func(g *gated) header
		take func(g *gated)
		want int // 0: the writes happen
	}{
		{"a password, nothing is taken", byPassword, func(*gated) {}, 0},
		{"a token, which expires", byToken, func(g *gated) { g.clock.advance(lifetime + 2*time.Minute) }, 0},
		{"a token, whose grace ends", byToken, func(g *gated) { g.clock.advance(lifetime + grace + time.Hour) }, 0},
		{"a personal token, which expires", byPersonal, func(g *gated) { g.clock.advance(100 * 24 * time.Hour) }, 0},
		{"a password, the user is removed", byPassword, removeErin, 401},
		{"a token, the user is removed", byToken, removeErin, 401},
		{"a personal token, the user is removed", byPersonal, removeErin, 401},
		{"a password, the user is disabled", byPassword, disableErin, 401},
		{"a token, the user is disabled", byToken, disableErin, 401},
		{"a password, which is changed", byPassword, changeErin, 401},
		{"a token, whose password is changed", byToken, changeErin, 401},
		{"a personal token, which is revoked", byPersonal, revokePersonal, 401},
		{"a token of a personal token, which is revoked", func(g *gated) header {
			i, _ := g.ask(byPersonal(g), scope)
			return bearerHeader(i.Token)
		}, revokePersonal, 401},
		{"a token, whose key is revoked", byToken, func(g *gated) {
			keys, err := g.rows.SigningKeys(g.t.Context())
			if err != nil {
				g.t.Fatal(err)
			}
			g.tx(func(tx *rows.Tx) error { return tx.DeleteSigningKey(keys[0].KID) })
			if err := g.API.auth.Tokens.Maintain(context.Background()); err != nil {
				g.t.Fatal(err)
			}
		}, 401},
		{"a password, the policy changes", byPassword, closePolicy, 403},
		{"a token, the policy changes", byToken, closePolicy, 401},
		{"a CI job, whose issuer wants more", func(g *gated) header {
			i, _ := g.ask(basicHeader("oidc", g.idToken("acme/app")), scope)
			return bearerHeader(i.Token)
		}, func(g *gated) {
			g.policy.issuers = strings.Replace(g.policy.issuers, "acme/*", "other/*", 1)
			g.policy.set(g.t, writers)
		}, 401},
	} {
		g := newGated(t, Options{})
		g.policy.set(t, writers)
		g.addUser("erin")
		g.pushAs(passwordHeader("alice"), "team/app", "{}")
		g.pushAs(passwordHeader("alice"), "team/app", "layer")
		writes, nothing := g.parkWrites("x", c.show(g))
		c.take(g)
		g.clock.advance(2 * reauthorizeAfter)
		for _, w := range writes {
			w.last()
			status := <-w.done
			if c.want != 0 && status != c.want || c.want == 0 && status != 201 && status != 202 {
				t.Errorf("%s: %s is answered %d, want %d", c.name, w.what, status, c.want)
			}
		}
		if c.want != 0 {
			nothing()
		}
	}
}

func byPassword(g *gated) header { return passwordHeader("erin") }
func byToken(g *gated) header    { return g.tokenOf("erin", "repository:team/app:pull,push") }

func byPersonal(g *gated) header {
	secret, _ := g.personal("user", "erin", "repository:team/**:push")
	return basicHeader("erin", secret)
}

func removeErin(g *gated) {
	g.tx(func(tx *rows.Tx) error { return tx.DeleteAccount(g.accounts["user erin"]) })
}

func disableErin(g *gated) {
	g.tx(func(tx *rows.Tx) error { return tx.SetDisabled(g.accounts["user erin"], true) })
}

func changeErin(g *gated) {
	hash := g.hash("another password of erin")
	g.tx(func(tx *rows.Tx) error { return tx.SetPassword(g.accounts["user erin"], hash, 4) })
}

func revokePersonal(g *gated) {
	g.tx(func(tx *rows.Tx) error { return tx.DeleteAuthTokensOf(g.accounts["user erin"]) })
}

func closePolicy(g *gated) { g.policy.set(g.t, watched) }

// TestR1OpenRegistryCloses parks writes in an open registry, which gets users before they end.
func TestR1OpenRegistryCloses(t *testing.T) {
	registry := newRegistry(t, "mem://", storage.Options{})
	open := serveRegistry(t, registry, Options{Policy: auth.Open{}})
	open.pushBlob("team/app", "{}")
	open.pushBlob("team/app", "layer")
	writes, nothing := open.parkWrites("x", nil)
	closed := gate(t, registry, Options{})
	open.Supersede(closed.API)
	for _, w := range writes {
		w.last()
		if status := <-w.done; status != 401 {
			t.Errorf("%s is answered %d, want 401", w.what, status)
		}
	}
	nothing()
}
