package web

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHeaderOfEveryAnswer checks the common header fields, over HTTP and forwarded from HTTPS.
func TestHeaderOfEveryAnswer(t *testing.T) {
	s := newSite(t, Options{HSTS: time.Hour, Version: "1.2", TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}})
	var origin Origin
	s.answers["/origin"] = func(x *Exchange) { origin = x.Origin }
	for _, c := range []struct {
		header     http.Header
		id         string // "" for a new one
		hsts       string
		wantOrigin Origin
	}{
		{header: http.Header{}, wantOrigin: Origin{netip.MustParseAddr("192.0.2.1"), "http", "example.com", true}},
		{
			header: http.Header{
				"X-Request-Id": {"my-id.1"}, "X-Forwarded-For": {"203.0.113.5"},
				"X-Forwarded-Proto": {"http, HTTPS"}, "X-Forwarded-Host": {"r.example:8443"},
			},
			id:         "my-id.1",
			hsts:       "max-age=3600",
			wantOrigin: Origin{netip.MustParseAddr("203.0.113.5"), "https", "r.example:8443", true},
		},
		{
			header:     http.Header{"X-Request-Id": {"berthp_secret"}, "X-Forwarded-Proto": {"ftp"}},
			wantOrigin: Origin{netip.MustParseAddr("192.0.2.1"), "http", "example.com", true},
		},
		{
			header:     http.Header{"X-Request-Id": {"one", "two"}, "X-Forwarded-For": {"203.0.113.5, nobody"}},
			wantOrigin: Origin{netip.Addr{}, "http", "example.com", true},
		},
		{
			header:     http.Header{"X-Forwarded-For": {"203.0.113.5,"}},
			wantOrigin: Origin{netip.Addr{}, "http", "example.com", true},
		},
	} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/origin", nil)
		r.Header = c.header
		s.ServeHTTP(w, r)
		got := w.Header()
		if id := got.Get("X-Request-Id"); id == "" || c.id != "" && id != c.id || c.id == "" && id == c.header.Get("X-Request-Id") {
			t.Errorf("%v: the id is %q", c.header, id)
		}
		if got.Get("X-Content-Type-Options") != "nosniff" || got.Get("Server") != "berth/1.2" || got.Get("Strict-Transport-Security") != c.hsts {
			t.Errorf("%v: answered with %v", c.header, got)
		}
		if origin != c.wantOrigin {
			t.Errorf("%v: the origin is %v, want %v", c.header, origin, c.wantOrigin)
		}
		if n := s.done.Swap(0); n != 1 {
			t.Errorf("%v: the end was told of %d times", c.header, n)
		}
	}
}

// TestCutAnswers makes answers incomplete in every way. None looks complete, and Handler.Done is
// called once for each.
func TestCutAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*Exchange)
		status int
	}{
		"less than was promised": {func(x *Exchange) {
			x.Response.Header().Set("Content-Length", "10")
			io.WriteString(&x.Response, "0123")
		}, 200},
		"a failure": {func(x *Exchange) {
			io.WriteString(&x.Response, "0123")
			x.Response.Fail(errors.New("the disk is gone"))
		}, 200},
		"a panic":                     {func(x *Exchange) { panic("a fault") }, 500},
		"a client that left before":   {func(x *Exchange) { x.Response.ClientGone(io.ErrUnexpectedEOF) }, statusClientGone},
		"a panic after a whole piece": {func(x *Exchange) { io.WriteString(&x.Response, strings.Repeat("x", copyBuffer)); panic("a fault") }, 200},
	} {
		inBubble(t, Options{}, func(s *site) {
			var x *Exchange
			s.answers["/cut"] = func(asked *Exchange) {
				x = asked
				c.answer(asked)
			}
			conn := s.dial(usual)
			io.WriteString(conn, "GET /cut HTTP/1.1\r\nHost: localhost\r\n\r\n")
			resp, err := http.ReadResponse(conn.r, nil)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if err == nil {
				t.Errorf("%s: the answer looks whole", name)
			}
			synctest.Wait()
			if n := s.done.Load(); n != 1 || x.Response.Status() != c.status {
				t.Errorf("%s: told of %d times, with %d, want %d", name, n, x.Response.Status(), c.status)
			}
		})
	}
}

// TestBodyThatStandsStill sends a byte at a time, with pauses. Only a pause of the whole timeout
// ends the body, or the time limit for all of it.
func TestBodyThatStandsStill(t *testing.T) {
	const limit = 10 * time.Second
	for _, c := range []struct {
		name  string
		pause time.Duration
		limit func(*Body) // sets a limit for the whole body
		bytes int64       // received
		took  time.Duration
	}{
		{"within the limit", 9 * time.Second, func(*Body) {}, 8, 72 * time.Second},
		{"one pause too long", limit + time.Second, func(*Body) {}, 0, limit},
		{"the whole takes too long", 4 * time.Second, func(b *Body) { b.LimitTime(9*time.Second, 0, 1) }, 2, 9 * time.Second},
		{"more time for more bytes", 4 * time.Second, func(b *Body) { b.LimitTime(9*time.Second, 4*time.Second, 1) }, 8, 32 * time.Second},
		{"but not enough", 4 * time.Second, func(b *Body) { b.LimitTime(9*time.Second, 5*time.Second, 2) }, 3, 14 * time.Second},
	} {
		inBubble(t, Options{BodyTimeout: limit}, func(s *site) {
			s.answers["/body"] = func(x *Exchange) {
				c.limit(x.Body)
				_, err := io.Copy(io.Discard, x.Body)
				took := time.Since(x.Began)
				// Deadlines do not move with each byte: they are up to a second early.
				if n := x.Body.Received(); n != c.bytes || (err == nil) != (n == 8) || took < c.took || took > c.took+time.Second {
					t.Errorf("%s: %d bytes after %v: %v; want %d after %v", c.name, n, took, err, c.bytes, c.took)
				}
				if x.Body.Stalled() != (err != nil) || x.Body.Interrupted() {
					t.Errorf("%s: stalled %v, interrupted %v", c.name, x.Body.Stalled(), x.Body.Interrupted())
				}
			}
			conn := s.dial(usual)
			io.WriteString(conn, "POST /body HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 8\r\n\r\n")
			go func() {
				for range 8 {
					time.Sleep(c.pause)
					if _, err := io.WriteString(conn, "x"); err != nil {
						return
					}
				}
			}()
			s.answered(conn, http.StatusOK)
		})
	}
}

// TestInterruptedBody interrupts a body in progress, and one that begins later.
func TestInterruptedBody(t *testing.T) {
	inBubble(t, Options{}, func(s *site) {
		s.answers["/body"] = func(x *Exchange) {
			_, err := io.Copy(io.Discard, x.Body)
			say(x, http.StatusOK, fmt.Sprint(err != nil, x.Body.Interrupted(), x.Body.Received()))
		}
		for _, want := range []string{"true true 4", "true true 0"} {
			conn := s.dial(usual)
			go io.WriteString(conn, "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\n0123")
			synctest.Wait()
			s.Interrupt()
			if got := s.answered(conn, http.StatusOK); got != want {
				t.Errorf("answered %q, want %q", got, want)
			}
		}
	})
}

func TestHosts(t *testing.T) {
	names := []string{"Registry.LAN", "other.lan.:5000", "web.lan:80", "2001:DB8::1"}
	s := New(Options{CheckHost: true, Hosts: names})
	for host, want := range map[string]bool{
		"localhost:5000": true, "a.localhost": true, "localhost.": true, "[::1]": true, "[0::1]:1": true,
		"registry.lan:5000": true, "registry.lan.:5000": true, "registry.lan.": true,
		"other.lan:5000": true, "OTHER.lan.:5000": true, "other.lan": false, "other.lan:80": false,
		"web.lan": true, "web.lan:80": true, "web.lan:81": false, "[2001:db8:0::1]:5000": true,
		"evil.example": false, "evillocalhost": false, "127.0.0.1.evil.example": false, "registry.lan..": false, "": false,
	} {
		if got := s.AllowsHost("http", host); got != want {
			t.Errorf("the host %s is allowed: %v", host, got)
		}
	}
	if s.AllowsHost("https", "web.lan") {
		t.Error("the port of a host without one does not depend on the scheme")
	}
	if !New(Options{Hosts: names}).AllowsHost("http", "evil.example") {
		t.Error("hosts are checked where they need not be")
	}
}

func TestOrigins(t *testing.T) {
	s := New(Options{Origins: []string{"https://R.example:443"}})
	for _, c := range []struct {
		host, origin string
		want         bool
	}{
		{"example.com", "", true},
		{"example.com", "https://r.example", true},
		{"example.com", "https://r.example.", true},
		{"example.com", "https://r.example:8443", false},
		{"example.com", "http://r.example", false},
		{"example.com", "http://example.com", true},
		{"Example.com.:80", "http://example.com", true},
		{"example.com:443", "https://example.com.", true},
		{"example.com:80", "https://example.com", false},
		{"example.com", "https://evil.example", false},
		{"example.com", "null", false},
	} {
		r := httptest.NewRequest("POST", "http://example.com/", nil)
		r.Host = c.host
		if c.origin != "" {
			r.Header.Set("Origin", c.origin)
		}
		if err := s.CheckOrigin(r); (err == nil) != c.want {
			t.Errorf("a write of a page of %q to %q: %v", c.origin, c.host, err)
		}
	}
	for origin, want := range map[string]bool{"https://r.example.": true, "http://example.com": false} {
		r := httptest.NewRequest("POST", "http://example.com/", nil)
		r.Header = http.Header{"Origin": {origin}, "Sec-Fetch-Site": {"cross-site"}}
		if err := s.CheckOrigin(r); (err == nil) != want {
			t.Errorf("a write of a page of %q on another site: %v", origin, err)
		}
	}
}

func TestRedact(t *testing.T) {
	long := strings.Repeat("x", 513)
	for text, want := range map[string]string{
		"team/app":                               "team/app",
		"berthp_0aZ":                             "[token]",
		"a berthr_1/berth_2":                     "a [token]/berth_2",
		"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.c": "[token]",
		long[:512]:                               long[:512],
		long:                                     long[:512] + "…",
	} {
		if got := Redact(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
