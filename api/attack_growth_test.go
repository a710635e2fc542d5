package api

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-registry/berth/storage"
)

// overLimitCase returns a request that is refused because its caller has too much in progress.
func overLimitCase(method, url string, h header, body string) exchangeCase {
	return exchangeCase{Name: "too many", Method: method, URL: url, Header: h, Body: body,
		WantCode: 429, WantHeader: header{"Retry-After": "60"}, WantError: codeTooManyRequests}
}

// TestD9UploadsOfOneAddress checks that without accounts uploads count for the address, for IPv6
// for the network.
func TestD9UploadsOfOneAddress(t *testing.T) {
	s := serveRegistry(t, newRegistry(t, "mem://", storage.Options{MaxSessions: 3, MaxInProgress: 1 << 20}),
		Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	from := func(addr string) header { return header{"X-Forwarded-For": addr} }
	open := func(addr, save string) {
		t.Helper()
		s.exchange(exchangeCase{Name: addr, Method: "POST", URL: "/v2/team/app/blobs/uploads/", Header: from(addr), WantCode: 202, Save: save})
	}
	for _, c := range []struct{ addr, same, other string }{
		{"192.0.2.1", "192.0.2.1", "192.0.2.2"},
		{"2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"},
		{"unknown", "unknown", "192.0.2.3"},
	} {
		for i := range 3 {
			open(c.addr, fmt.Sprint("session", i))
		}
		_, text := s.exchange(overLimitCase("POST", "/v2/another/app/blobs/uploads/", from(c.same), ""))
		if !strings.Contains(text, "you have 3 upload sessions open, and 3 is the most that one caller may have: finish or cancel some, or wait until they expire") {
			t.Error(text)
		}
		s.exchange(overLimitCase("POST", "/v2/team/app/blobs/uploads/?digest="+sha256Of("x"), from(c.same), "x"))
		open(c.other, "other")
		s.runCases([]exchangeCase{
			{Name: "others finish what is theirs", Method: "PUT", URL: "{other}?digest=" + sha256Of("x"), Header: from(c.other), Body: "x", WantCode: 201},
			{Name: "cancel", Method: "DELETE", URL: "{session0}", Header: from(c.same), WantCode: 204},
		})
		open(c.same, "session0")
		// A body with a Content-Length is refused before it is sent.
		for i, request := range []string{"PATCH {session0}", "PATCH {session0}", "PUT {session1}?digest=" + sha256Of("x")} {
			conn := s.dial(s.expand(request) + " HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: " + c.addr + "\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "60" {
				t.Errorf("%s, request %d: %v, %v", c.addr, i, resp, err)
			}
		}
		// A body without one is refused when it exceeds the limit.
		large := strings.Repeat("x", 2<<20)
		resp, err := s.transport.RoundTrip(unannouncedPatch(t, "http://"+s.addr+s.expand("{session2}"), large, c.addr))
		if err != nil || resp.StatusCode != 429 {
			t.Errorf("%s, a chunked body: %v, %v", c.addr, resp, err)
		}
		s.runCases([]exchangeCase{
			{Name: "small ones go on", Method: "PATCH", URL: "{session2}", Header: from(c.addr), Body: "hello", WantCode: 202},
			{Name: "to the end", Method: "PUT", URL: "{session2}?digest=" + sha256Of("hello"), Header: from(c.addr), WantCode: 201},
		})
	}
}

// unannouncedPatch returns a PATCH without a Content-Length.
func unannouncedPatch(t *testing.T, url, body, addr string) *http.Request {
	t.Helper()
	req, err := http.NewRequest("PATCH", url, struct{ *strings.Reader }{strings.NewReader(body)})
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = -1
	req.Header.Set("X-Forwarded-For", addr)
	return req
}

// TestD9UploadsOfOneAccount checks that uploads count for the account, for each address and
// credential.
func TestD9UploadsOfOneAccount(t *testing.T) {
	g := serveGuarded(t, newRegistry(t, "mem://", storage.Options{MaxSessions: 2}),
		Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	from := func(addr string) header { return header{"X-Forwarded-For": addr} }
	open := func(who header, repo string) exchangeCase {
		return exchangeCase{Name: "open", Method: "POST", URL: "/v2/" + repo + "/blobs/uploads/", Header: who, WantCode: 202}
	}
	token := g.tokenHeader("alice", "repository:alice/app:pull,push")
	g.runCases([]exchangeCase{
		open(token.with(from("192.0.2.1")), "alice/app"),
		open(passwordHeader("alice").with(from("192.0.2.2")), "team/app"),
		overLimitCase("POST", "/v2/alice/app/blobs/uploads/", token.with(from("192.0.2.3")), ""),
		overLimitCase("POST", "/v2/team/app/blobs/uploads/", passwordHeader("alice").with(from("192.0.2.1")), ""),
		open(passwordHeader("bob").with(from("192.0.2.1")), "bob/app"),
	})
}

// TestD9HTTP2Connections checks that few connections speak HTTP/2 at once, and that the others are
// served too.
func TestD9HTTP2Connections(t *testing.T) {
	s, clients := newTLSSite(t, newRegistry(t, "mem://", storage.Options{}), Options{})
	roots := clients["HTTP/2.0"].Transport.(*http.Transport).TLSClientConfig.RootCAs
	// speak opens a connection and returns the protocol of the answer.
	speak := func() (proto string, end func()) {
		t.Helper()
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
		t.Cleanup(transport.CloseIdleConnections)
		resp, err := transport.RoundTrip(httptest.NewRequest("GET", "https://"+s.addr+"/v2/", nil))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d", resp.Proto, resp.StatusCode)
		}
		return resp.Proto, transport.CloseIdleConnections
	}
	var end func()
	const most = 16 // docs/security.md says so
	for i := range most {
		var proto string
		if proto, end = speak(); proto != "HTTP/2.0" {
			t.Errorf("connection %d speaks %s", i, proto)
		}
	}
	for range 3 {
		if proto, _ := speak(); proto != "HTTP/1.1" {
			t.Errorf("one connection more speaks %s", proto)
		}
	}
	// Failed handshakes do not count, and a closed connection no longer counts.
	end()
	for proto := ""; proto != "HTTP/2.0"; {
		raw, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		conn := tls.Client(raw, &tls.Config{NextProtos: []string{"h2"}}) // it does not trust the certificate
		if conn.Handshake() == nil {
			t.Fatal("the handshake went well")
		}
		conn.Close()
		proto, _ = speak()
	}
}
