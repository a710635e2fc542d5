package web

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/auth"
)

const (
	refusedHead = "PUT /nowhere HTTP/1.1\r\nHost: localhost\r\n"
	announced   = 10 << 20
)

// refused opens a connection whose request is answered before its body is sent.
func (s *site) refused(addr string) *client {
	s.t.Helper()
	return s.ask(addr, fmt.Sprintf("%sContent-Length: %d\r\n", refusedHead, announced), 404)
}

var usualLinger = Options{LingerBytes: 64 << 20, LingerTime: 30 * time.Second}

// TestLingerIdle sends nothing after the answer.
func TestLingerIdle(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{time.Minute: 10 * time.Second, 3 * time.Second: 3 * time.Second} {
		o := usualLinger
		o.BodyTimeout = timeout
		inBubble(t, o, func(s *site) {
			if took := s.closed(s.refused(usual)); took != want {
				t.Errorf("a silent connection was closed after %v, want %v", took, want)
			}
		})
	}
}

// TestLingerTime sends a byte every five seconds after the answer.
func TestLingerTime(t *testing.T) {
	inBubble(t, usualLinger, func(s *site) {
		c := s.refused(usual)
		go func() {
			for {
				time.Sleep(5 * time.Second)
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		if took := s.closed(c); took != 30*time.Second {
			t.Errorf("a trickling connection was closed after %v", took)
		}
	})
}

// TestLingerBytes sends as much as is drained after the answer, and then more.
func TestLingerBytes(t *testing.T) {
	const most = 1 << 20
	o := Options{LingerBytes: most, LingerTime: time.Minute}
	inBubble(t, o, func(s *site) {
		for framing, end := range map[string]string{fmt.Sprintf("Content-Length: %d\r\n", most): "", "Transfer-Encoding: chunked\r\n": "\r\n0\r\n\r\n"} {
			c := s.ask(usual, refusedHead+framing, 404)
			if end != "" {
				fmt.Fprintf(c, "%x\r\n", most)
			}
			io.WriteString(c, strings.Repeat("x", most)+end+"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 200 {
				t.Errorf("after as much as may come the next request is answered %v", err)
			}
			c.Close()
		}
		before := s.drained.Load()
		c := s.refused(usual)
		go io.WriteString(c, strings.Repeat("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", announced/33))
		if took := s.closed(c); took != lingerPause {
			t.Errorf("closed after %v", took)
		}
		if got := s.drained.Load() - before; got != most+1 {
			t.Errorf("%v bytes of a body were read after its answer, want %d", got, most+1)
		}
	})
}

// TestLingerSlots opens more connections than may linger, of one network and in all. Of the others
// no more is read than net/http would read.
func TestLingerSlots(t *testing.T) {
	o := usualLinger
	o.ClientNetwork = auth.ClientNetwork
	inBubble(t, o, func(s *site) {
		var open []*client
		fill := func(addr string) {
			for i := range maxLingeringPerNetwork {
				open = append(open, s.refused(addr))
				if n := s.lingering(); n != len(open) {
					t.Fatalf("%d connections linger, %s should have its no. %d", n, addr, i+1)
				}
			}
		}
		full := func(addr string) {
			t.Helper()
			before := s.drained.Load()
			c := s.refused(addr)
			go io.WriteString(c, strings.Repeat("x", announced))
			if took := s.closed(c); took != lingerPause {
				t.Errorf("one too many of %s was closed after %v", addr, took)
			}
			if got := s.drained.Load() - before; got != defaultLingerBytes+1 {
				t.Errorf("of one too many of %s %v bytes were read", addr, got)
			}
		}
		fill(usual)
		full("192.0.2.1:2")
		fill("[2001:db8::1]:1")
		full("[2001:db8::2]:1")
		fill("[2001:db8:0:1::1]:1")
		fill("192.0.2.2:1")
		full("192.0.2.3:1")
		for _, c := range open {
			if took := s.closed(c); took != lingerIdle {
				t.Errorf("one that lingers was closed after %v", took)
			}
		}
		if s.refused("192.0.2.3:1"); s.lingering() != 1 {
			t.Errorf("%d connections linger when there is room again", s.lingering())
		}
	})
}

// TestLingerForwarded counts connections from a trusted proxy by the addresses of their clients.
func TestLingerForwarded(t *testing.T) {
	o := usualLinger
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}
	inBubble(t, o, func(s *site) {
		for i := range maxLingeringPerNetwork + 1 {
			s.ask("10.0.0.1:1", fmt.Sprintf("%sX-Forwarded-For: 192.0.2.%d\r\nContent-Length: %d\r\n", refusedHead, i, announced), 404)
		}
		if n := s.lingering(); n != maxLingeringPerNetwork+1 {
			t.Errorf("%d connections of one proxy linger", n)
		}
	})
}

// TestLingerEnds: neither StopLingering nor Interrupt waits for connections that linger.
func TestLingerEnds(t *testing.T) {
	for name, end := range map[string]func(*site){"StopLingering": func(s *site) { s.StopLingering() }, "Interrupt": func(s *site) { s.Interrupt() }} {
		inBubble(t, usualLinger, func(s *site) {
			open := []*client{s.refused(usual), s.refused("192.0.2.2:1")}
			time.Sleep(time.Second)
			if s.lingering() != len(open) {
				t.Fatal("nothing lingers")
			}
			end(s)
			for _, c := range open {
				if took := s.closed(c); took != time.Second {
					t.Errorf("%s: closed after %v", name, took)
				}
			}
			s.refused(usual)
			if n := s.lingering(); n != 0 {
				t.Errorf("after %s %d connections linger", name, n)
			}
		})
	}
}

// TestNoLinger checks connections that do not linger.
func TestNoLinger(t *testing.T) {
	length := fmt.Sprintf("Content-Length: %d\r\n", announced)
	for name, c := range map[string]struct {
		o    Options
		head string
		most time.Duration
	}{
		"off by bytes":             {Options{LingerBytes: -1, LingerTime: time.Minute}, refusedHead + length, defaultLingerTime},
		"off by time":              {Options{LingerBytes: 1 << 20}, refusedHead + length, defaultLingerTime},
		"a client that asks":       {usualLinger, refusedHead + "Expect: 100-continue\r\n" + length, 0},
		"one that asks for little": {usualLinger, refusedHead + "Expect: 100-continue\r\nContent-Length: 10\r\n", defaultLingerTime},
	} {
		inBubble(t, c.o, func(s *site) {
			conn := s.ask(usual, c.head, 404)
			if n := s.lingering(); n != 0 {
				t.Errorf("%s: %d connections linger", name, n)
			}
			if took := s.closed(conn); took > c.most {
				t.Errorf("%s: closed after %v", name, took)
			}
		})
	}
}

// TestLingerBrokenBody sends chunks with faulty framing. The connection ends, since the next
// request cannot be found in it.
func TestLingerBrokenBody(t *testing.T) {
	inBubble(t, usualLinger, func(s *site) {
		for _, rest := range []string{"zz\r\n", "1\r\nxyz", "0\r\n" + strings.Repeat("x", 5000)} {
			c := s.ask(usual, refusedHead+"Transfer-Encoding: chunked\r\n", 404)
			go io.WriteString(c, rest+"\r\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if took := s.closed(c); took != 0 {
				t.Errorf("after %.10q closed after %v", rest, took)
			}
		}
	})
}

// TestLargeAnswerKeepsConnection: net/http reads a short body itself before a large answer, and the
// connection takes the next request.
func TestLargeAnswerKeepsConnection(t *testing.T) {
	inBubble(t, usualLinger, func(s *site) {
		s.answers["/large"] = func(x *Exchange) { say(x, http.StatusOK, strings.Repeat("x", maxEarlyAnswer+1)) }
		conn := s.dial(usual)
		go io.WriteString(conn, "POST /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n0123"+
			"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		for _, want := range []int{maxEarlyAnswer + 1, len("here")} {
			resp, err := http.ReadResponse(conn.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := io.ReadAll(resp.Body); err != nil || len(text) != want {
				t.Errorf("%d bytes, %v, want %d", len(text), err, want)
			}
		}
	})
}
