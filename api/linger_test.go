package api

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// lateBodies are bodies that are sent after the answer, by the header field that announces them.
// They are longer than what net/http drains by itself.
var lateBodies = map[string]string{
	"Content-Length: 1048576\r\n\r\n":    strings.Repeat("x", 1<<20),
	"Transfer-Encoding: chunked\r\n\r\n": "100000\r\n" + strings.Repeat("x", 1<<20) + "\r\n0\r\n\r\n",
}

// checkAnswerFirst sends a header, reads the answer, and then sends the body. After that the
// connection must serve another request.
func (s *site) checkAnswerFirst(head, framing string, status int) {
	s.t.Helper()
	method, _, _ := strings.Cut(head, " ")
	conn := s.dial(head + framing)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%q %q: %v", head, framing, err)
	}
	said, err := io.ReadAll(resp.Body)
	if resp.StatusCode != status || err != nil {
		s.t.Errorf("%q is answered %d %s, %v, want %d", head, resp.StatusCode, said, err, status)
	}
	if _, err := io.WriteString(conn, lateBodies[framing]+"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		s.t.Errorf("%q: the body: %v", head, err)
	}
	resp, err = http.ReadResponse(r, nil)
	if err != nil {
		s.t.Errorf("%q %q: the next request: %v", head, framing, err)
		return
	}
	resp.Body.Close()
}

// TestAnswerFirst checks all kinds of answers that do not wait for the body.
func TestAnswerFirst(t *testing.T) {
	s := newSite(t, Options{MaxManifest: 1000, CheckHost: true})
	d := s.pushBlob("team/app", "content")
	_, m := s.pushImage("team/app", "v1", "")
	s.openUpload("team/app")
	session, _ := s.savedUpload()
	const host = " HTTP/1.1\r\nHost: localhost\r\n"
	always := map[string]int{
		"GET /v2/" + host:  200,
		"HEAD /v2/" + host: 200,
		"GET /v2/ HTTP/1.1\r\nHost: elsewhere.example\r\n": 421,
		"GET /nowhere" + host:                              404,
		"POST /v2/" + host:                                 405,
		"TRACE /v2/" + host:                                405,
		"GET /v2/UPPER/tags/list" + host:                   400,
		"GET /v2/team/app/blobs/" + d + host:               200,
		"HEAD /v2/team/app/blobs/" + d + host:              200,
		"GET /v2/team/app/manifests/" + m + host:           200,
		"GET /v2/team/app/manifests/v1" + host + "If-None-Match: \"" + m + "\"\r\n": 304,
		"GET /v2/team/app/manifests/none" + host:                                    404,
		"POST " + uploads + host:                                                    202,
		"POST " + uploads + "?mount=" + d + "&from=team/app" + host:                 201,
		"POST " + uploads + "?digest=a&digest=b" + host:                             400,
		"PUT " + session + host:                                                     400,
		"GET " + session + host:                                                     204,
		"PATCH " + session + host + "Content-Range: 5-1048580\r\n":                  416,
		"DELETE " + uploads + "none" + host:                                         404,
		"DELETE /v2/team/app/blobs/" + sha256Of("absent") + host:                    404,
	}
	for head, status := range always {
		for framing := range lateBodies {
			s.checkAnswerFirst(head, framing, status)
		}
	}
	// With a chunked body these would wait for bytes of it: to count them, or before the upload
	// session is looked up.
	for head, status := range map[string]int{
		"PUT /v2/team/app/manifests/v2" + host:       413,
		"PATCH " + uploads + "none" + host:           404,
		"PUT " + uploads + "none?digest=" + d + host: 404,
		"DELETE " + session + host:                   204,
		"DELETE /v2/team/app/manifests/" + m + host:  202,
	} {
		s.checkAnswerFirst(head, "Content-Length: 1048576\r\n\r\n", status)
	}
}

// TestEveryErrorFirst checks every error in problems, and an unknown one.
func TestEveryErrorFirst(t *testing.T) {
	head := "GET /v2/a/blobs/" + sha256Of("x") + " HTTP/1.1\r\nHost: localhost\r\n"
	for _, p := range append(problems, problem{kind: errors.New("unforeseen"), status: 500}) {
		s := serveRegistry(t, failingRegistry{err: p.kind}, Options{})
		for framing := range lateBodies {
			s.checkAnswerFirst(head, framing, p.status)
		}
	}
}

// TestLargeAnswerBeforeBody has an answer that is larger than the kernel's buffers. It arrives
// whole, and so does the body.
func TestLargeAnswerBeforeBody(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 4<<16)
	s := newSite(t, Options{})
	d := s.pushBlob("team/app", content)
	bodies := maps.Clone(lateBodies)
	bodies["Content-Length: 7\r\n\r\n"] = "content" // net/http drains it
	for framing, rest := range bodies {
		conn := s.dial("GET /v2/team/app/blobs/" + d + " HTTP/1.1\r\nHost: localhost\r\n" + framing)
		sent := make(chan error, 1)
		go func() {
			_, err := io.WriteString(conn, rest)
			sent <- err
		}()
		resp, body := s.readAnswer(conn, "GET")
		s.check(exchangeCase{Name: "large", Method: "GET", URL: "/v2/team/app/blobs/" + d, WantCode: 200, WantBody: content}, resp, body)
		if err := <-sent; err != nil {
			t.Errorf("%q: the body: %v", framing, err)
		}
	}
}

// TestNoLingerOverHTTP2 checks that a stream ends with its answer, and that the client is told to
// stop sending the body.
func TestNoLingerOverHTTP2(t *testing.T) {
	s, clients := newTLSSite(t, nil, Options{})
	body, sender := io.Pipe()
	defer sender.Close()
	req, err := http.NewRequest("PUT", "https://"+s.addr+"/nowhere", body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := clients["HTTP/2.0"].Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 404 || resp.ProtoMajor != 2 {
		t.Errorf("answered %s %d, %v", resp.Proto, resp.StatusCode, err)
	}
	for err = nil; err == nil; {
		_, err = sender.Write([]byte("x"))
	}
	if got := testutil.ToFloat64(s.metrics.received); got != 0 {
		t.Errorf("%v bytes were read after the answer", got)
	}
}

// TestLingerIsNotTheRequest checks that the log and the metrics of a request end with its answer.
// Drained bytes count as received.
func TestLingerIsNotTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := serveInBubble(t, nil, Options{})
		conn := s.dial("PUT /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
		answers := bufio.NewReader(conn)
		refused, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, refused.Body); err != nil || refused.StatusCode != http.StatusNotFound {
			t.Fatalf("answered %d, %v", refused.StatusCode, err)
		}
		synctest.Wait()
		if n := testutil.ToFloat64(s.metrics.inFlight); n != 0 {
			t.Errorf("%v requests are in flight", n)
		}
		if log := s.log.String(); strings.Count(log, `"msg":"request"`) != 1 || !strings.Contains(log, `"duration":0`) {
			t.Errorf("with the answer the log has %s", log)
		}
		time.Sleep(5 * time.Second)
		io.WriteString(conn, strings.Repeat("x", 100)+"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
		if _, err := http.ReadResponse(answers, nil); err != nil {
			t.Errorf("the next request: %v", err)
		}
		if got := testutil.ToFloat64(s.metrics.received); got != 100 {
			t.Errorf("%v bytes are counted as received", got)
		}
		if n := testutil.ToFloat64(s.metrics.requests.WithLabelValues("none", "PUT", "404")); n != 1 {
			t.Errorf("%v requests are counted", n)
		}
	})
}

// TestLingerAfterShortAnswer checks that a cut answer closes the connection at once, so that no
// client takes it for whole.
func TestLingerAfterShortAnswer(t *testing.T) {
	short := replacedBlob{bytes: func() io.ReadSeekCloser {
		return failingContent{strings.NewReader("0123"), &sizeOnly{size: 100_000}, io.NopCloser(nil)}
	}}
	synctest.Test(t, func(t *testing.T) {
		s, _ := serveInBubble(t, short, Options{})
		for _, framing := range []string{"Content-Length: 10000000", "Content-Length: 10", "Transfer-Encoding: chunked"} {
			client, err := s.connect()
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

// TestLingerAfterSlowManifest checks that a manifest that is sent too slowly is answered before its
// end. The rest is drained if its length is known.
func TestLingerAfterSlowManifest(t *testing.T) {
	for framing, piece := range map[string]string{"Content-Length: 100": "x", "Transfer-Encoding: chunked": "1\r\nx\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			s, _ := serveInBubble(t, nil, Options{})
			client, err := s.connect()
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
			answers := bufio.NewReader(client)
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusRequestTimeout {
				t.Fatalf("%s: answered %d, %v", framing, resp.StatusCode, err)
			}
			began := time.Now()
			close(answered)
			n := <-sent
			if framing[0] == 'T' {
				if said, err := io.ReadAll(answers); err != nil || len(said) > 0 {
					t.Errorf("%s: after its answer a connection has %q, %v", framing, said, err)
				}
				if took := time.Since(began); took != 500*time.Millisecond {
					t.Errorf("%s: closed after %v", framing, took)
				}
				return
			}
			io.WriteString(client, strings.Repeat("x", 100-n)+"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
			if resp, err := http.ReadResponse(answers, nil); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s: the next request: %v", framing, err)
			}
		})
	}
}
