package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// piped is a site in a synctest bubble, whose time is the server's.
type piped struct {
	*site
}

// overPipes runs a test in a bubble, and sees that no connection lingers after it.
func overPipes(t *testing.T, registry Registry, o Options, f func(piped)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var p piped
		t.Cleanup(func() { // the last one
			if n := p.lingering(); n != 0 {
				t.Errorf("%d connections linger when all are closed", n)
			}
		})
		p.site, _ = serveInBubble(t, registry, o)
		f(p)
	})
}

// caught is the client's side of a connection.
type caught struct {
	net.Conn
	r     *bufio.Reader
	began time.Time // when it had its answer
}

const (
	refusedHead = "PUT /nowhere HTTP/1.1\r\nHost: localhost\r\n"
	announced   = 10 << 20
)

// ask connects from an address, sends the head of a request and reads the answer.
func (p piped) ask(addr, head string, status int) *caught {
	p.t.Helper()
	client, err := p.from(addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { client.Close() })
	c := &caught{client, bufio.NewReader(client), time.Time{}}
	if _, err := io.WriteString(client, head+"\r\n"); err != nil {
		p.t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != status {
		p.t.Fatalf("%q is answered %d, %v, want %d", head, resp.StatusCode, err, status)
	}
	c.began = time.Now()
	return c
}

// refused is a connection whose request was answered before its body.
func (p piped) refused(addr string) *caught {
	p.t.Helper()
	return p.ask(addr, fmt.Sprintf("%sContent-Length: %d\r\n", refusedHead, announced), 404)
}

// closed returns how long after the answer the server closed the connection, on
// which it may say nothing more.
func (p piped) closed(c *caught) time.Duration {
	p.t.Helper()
	if said, err := io.ReadAll(c.r); err != nil || len(said) > 0 {
		p.t.Errorf("after its answer a connection has %q, %v", said, err)
	}
	return time.Since(c.began)
}

// lingering returns how many connections are read on.
func (p piped) lingering() int {
	synctest.Wait()
	p.lingers.mu.Lock()
	defer p.lingers.mu.Unlock()
	return len(p.lingers.open)
}

var usualLinger = Options{LingerBytes: 64 << 20, LingerTime: 30 * time.Second}

// TestLingerIdle sends nothing after the answer.
func TestLingerIdle(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{time.Minute: 10 * time.Second, 3 * time.Second: 3 * time.Second} {
		o := usualLinger
		o.BodyTimeout = timeout
		overPipes(t, nil, o, func(p piped) {
			if took := p.closed(p.refused("192.0.2.1:1")); took != want {
				t.Errorf("a silent connection was closed after %v, want %v", took, want)
			}
		})
	}
}

// TestLingerTime sends a byte each five seconds after the answer.
func TestLingerTime(t *testing.T) {
	overPipes(t, nil, usualLinger, func(p piped) {
		c := p.refused("192.0.2.1:1")
		go func() {
			for {
				time.Sleep(5 * time.Second)
				if _, err := c.Write([]byte("x")); err != nil {
					return
				}
			}
		}()
		if took := p.closed(c); took != 30*time.Second {
			t.Errorf("a trickling connection was closed after %v", took)
		}
	})
}

// TestLingerBytes sends what may come after the answer, and more.
func TestLingerBytes(t *testing.T) {
	const most = 1 << 20
	o := Options{LingerBytes: most, LingerTime: time.Minute}
	overPipes(t, nil, o, func(p piped) {
		for framing, end := range map[string]string{fmt.Sprintf("Content-Length: %d\r\n", most): "", "Transfer-Encoding: chunked\r\n": "\r\n0\r\n\r\n"} {
			c := p.ask("192.0.2.1:1", refusedHead+framing, 404)
			if end != "" {
				fmt.Fprintf(c, "%x\r\n", most)
			}
			io.WriteString(c, strings.Repeat("x", most)+end+"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != 200 {
				t.Errorf("after as much as may come the next request is answered %v", err)
			}
			c.Close()
		}
		before := testutil.ToFloat64(p.metrics.received)
		c := p.refused("192.0.2.1:1")
		go io.WriteString(c, strings.Repeat("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n", announced/36))
		if took := p.closed(c); took != lingerPause {
			t.Errorf("closed after %v", took)
		}
		if got := testutil.ToFloat64(p.metrics.received) - before; got != most+1 {
			t.Errorf("%v bytes of a body were read after its answer, want %d", got, most+1)
		}
	})
}

// TestLingerSlots has more connections than may linger, of one network and of
// all. Of the others no more is read than net/http would read.
func TestLingerSlots(t *testing.T) {
	overPipes(t, nil, usualLinger, func(p piped) {
		var open []*caught
		fill := func(addr string) {
			for i := range maxLingeringOf {
				open = append(open, p.refused(addr))
				if n := p.lingering(); n != len(open) {
					t.Fatalf("%d connections linger, %s should have its no. %d", n, addr, i+1)
				}
			}
		}
		full := func(addr string) {
			t.Helper()
			before := testutil.ToFloat64(p.metrics.received)
			c := p.refused(addr)
			go io.WriteString(c, strings.Repeat("x", announced))
			if took := p.closed(c); took != lingerPause {
				t.Errorf("one too many of %s was closed after %v", addr, took)
			}
			if got := testutil.ToFloat64(p.metrics.received) - before; got != leaveBytes+1 {
				t.Errorf("of one too many of %s %v bytes were read", addr, got)
			}
		}
		fill("192.0.2.1:1")
		full("192.0.2.1:2")
		fill("[2001:db8::1]:1")
		full("[2001:db8::2]:1")
		fill("[2001:db8:0:1::1]:1")
		fill("192.0.2.2:1")
		full("192.0.2.3:1")
		for _, c := range open {
			if took := p.closed(c); took != lingerIdle {
				t.Errorf("one that lingers was closed after %v", took)
			}
		}
		if p.refused("192.0.2.3:1"); p.lingering() != 1 {
			t.Errorf("%d connections linger when there is room again", p.lingering())
		}
	})
}

// TestLingerForwarded counts those that a trusted proxy forwards by their clients.
func TestLingerForwarded(t *testing.T) {
	o := usualLinger
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}
	overPipes(t, nil, o, func(p piped) {
		for i := range maxLingeringOf + 1 {
			p.ask("10.0.0.1:1", fmt.Sprintf("%sX-Forwarded-For: 192.0.2.%d\r\nContent-Length: %d\r\n", refusedHead, i, announced), 404)
		}
		if n := p.lingering(); n != maxLingeringOf+1 {
			t.Errorf("%d connections of one proxy linger", n)
		}
	})
}

// TestLingerEnds: a shutdown does not wait for what is only read on, and neither
// does an interrupt.
func TestLingerEnds(t *testing.T) {
	for name, end := range map[string]func(piped){"StopLingering": func(p piped) { p.StopLingering() }, "Interrupt": func(p piped) { p.Interrupt() }} {
		overPipes(t, nil, usualLinger, func(p piped) {
			open := []*caught{p.refused("192.0.2.1:1"), p.refused("192.0.2.2:1")}
			time.Sleep(time.Second)
			if p.lingering() != len(open) {
				t.Fatal("nothing lingers")
			}
			end(p)
			for _, c := range open {
				if took := p.closed(c); took != time.Second {
					t.Errorf("%s: closed after %v", name, took)
				}
			}
			p.refused("192.0.2.1:1")
			if n := p.lingering(); n != 0 {
				t.Errorf("after %s %d connections linger", name, n)
			}
		})
	}
}

// TestLingerIsNotTheRequest: the log and the metrics of a request are those of
// its answer. What is read after it counts as received.
func TestLingerIsNotTheRequest(t *testing.T) {
	overPipes(t, nil, usualLinger, func(p piped) {
		c := p.ask("192.0.2.1:1", refusedHead+"Content-Length: 100\r\n", 404)
		synctest.Wait()
		if n := testutil.ToFloat64(p.metrics.inFlight); n != 0 {
			t.Errorf("%v requests are in flight", n)
		}
		if log := p.log.String(); strings.Count(log, `"msg":"request"`) != 1 || !strings.Contains(log, `"duration":0`) {
			t.Errorf("with the answer the log has %s", log)
		}
		time.Sleep(5 * time.Second)
		io.WriteString(c, strings.Repeat("x", 100)+"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := http.ReadResponse(c.r, nil); err != nil {
			t.Errorf("the next request: %v", err)
		}
		if got := testutil.ToFloat64(p.metrics.received); got != 100 {
			t.Errorf("%v bytes are counted as received", got)
		}
		if n := testutil.ToFloat64(p.metrics.requests.WithLabelValues("none", "PUT", "404")); n != 1 {
			t.Errorf("%v requests are counted", n)
		}
	})
}

// TestNoLinger has what is not read on.
func TestNoLinger(t *testing.T) {
	length := fmt.Sprintf("Content-Length: %d\r\n", announced)
	for name, c := range map[string]struct {
		o    Options
		head string
		most time.Duration
	}{
		"off by bytes":             {Options{LingerBytes: -1, LingerTime: time.Minute}, refusedHead + length, leaveTime},
		"off by time":              {Options{LingerBytes: 1 << 20}, refusedHead + length, leaveTime},
		"a client that asks":       {usualLinger, refusedHead + "Expect: 100-continue\r\n" + length, 0},
		"one that asks for little": {usualLinger, refusedHead + "Expect: 100-continue\r\nContent-Length: 10\r\n", leaveTime},
	} {
		overPipes(t, nil, c.o, func(p piped) {
			conn := p.ask("192.0.2.1:1", c.head, 404)
			if n := p.lingering(); n != 0 {
				t.Errorf("%s: %d connections linger", name, n)
			}
			if took := p.closed(conn); took > c.most {
				t.Errorf("%s: closed after %v", name, took)
			}
		})
	}
}

// TestLingerBrokenBody ends a connection whose body cannot be told from the next
// request any more.
func TestLingerBrokenBody(t *testing.T) {
	overPipes(t, nil, usualLinger, func(p piped) {
		for _, rest := range []string{"zz\r\n", "1\r\nxyz", "0\r\n" + strings.Repeat("x", 5000)} {
			c := p.ask("192.0.2.1:1", refusedHead+"Transfer-Encoding: chunked\r\n", 404)
			go io.WriteString(c, rest+"\r\nGET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if took := p.closed(c); took != 0 {
				t.Errorf("after %.10q closed after %v", rest, took)
			}
		}
	})
}

// TestLingerAfterShortAnswer: an answer that breaks off ends the connection at
// once, and is not taken for whole.
func TestLingerAfterShortAnswer(t *testing.T) {
	short := spoiled{bytes: func() io.ReadSeekCloser {
		return broken{strings.NewReader("0123"), &onlySize{size: 100_000}, io.NopCloser(nil)}
	}}
	overPipes(t, short, usualLinger, func(p piped) {
		for _, framing := range []string{"Content-Length: 10000000", "Content-Length: 10", "Transfer-Encoding: chunked"} {
			client, err := p.conn()
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			go io.WriteString(client, "GET /v2/a/blobs/"+sha256Of("x")+" HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-9\r\n"+framing+"\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(client), nil)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
			if err == nil {
				t.Errorf("%s: a short answer looks whole", framing)
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("%s: closed after %v", framing, took)
			}
		}
	})
}

// TestLingerAfterSlowManifest: a manifest that comes too slowly is answered while
// it is still coming. What is left is read on where its end can be found.
func TestLingerAfterSlowManifest(t *testing.T) {
	for framing, piece := range map[string]string{"Content-Length: 100": "x", "Transfer-Encoding: chunked": "1\r\nx\r\n"} {
		overPipes(t, nil, usualLinger, func(p piped) {
			client, err := p.conn()
			if err != nil {
				t.Fatal(err)
			}
			answered := make(chan struct{})
			sent := make(chan int, 1)
			go func() {
				n := 0
				defer func() { sent <- n }()
				if _, err := io.WriteString(client, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: localhost\r\n"+framing+"\r\n\r\n"); err != nil {
					return
				}
				for tick := time.NewTicker(5 * time.Second); ; n++ {
					select {
					case <-tick.C:
					case <-answered:
						return
					}
					if _, err := io.WriteString(client, piece); err != nil {
						return
					}
				}
			}()
			c := &caught{client, bufio.NewReader(client), time.Time{}}
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusRequestTimeout {
				t.Fatalf("%s: answered %d, %v", framing, resp.StatusCode, err)
			}
			c.began = time.Now()
			close(answered)
			n := <-sent
			if framing[0] == 'T' {
				if took := p.closed(c); took != lingerPause {
					t.Errorf("%s: closed after %v", framing, took)
				}
				return
			}
			io.WriteString(client, strings.Repeat("x", 100-n)+"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if resp, err := http.ReadResponse(c.r, nil); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: the next request: %v", framing, err)
			}
		})
	}
}
