package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// testAuditor is an Auditor that collects its lines. The test decides whether it has room.
type testAuditor struct {
	logBuffer
	handler slog.Handler

	mu           sync.Mutex
	full         bool
	reserveCalls int           // calls of Reserve
	held         int           // reservations not yet used or released
	dropped      int           // lines dropped
	canceled     int           // calls of Reserve with a context that had ended
	released     chan struct{} // signaled by Release
}

func newAuditor() *testAuditor {
	a := &testAuditor{logBuffer: logBuffer{lines: make(chan struct{}, 1)}, released: make(chan struct{}, 1)}
	a.handler = slog.NewJSONHandler(&a.logBuffer, nil)
	return a
}

func (a *testAuditor) Reserve(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reserveCalls++
	if ctx.Err() != nil {
		a.canceled++
	}
	if a.full {
		return ErrAuditFull
	}
	a.held++
	return nil
}

func (a *testAuditor) Write(line slog.Record) {
	a.Release()
	_ = a.handler.Handle(context.Background(), line)
}

func (a *testAuditor) Release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.held--
	select {
	case a.released <- struct{}{}:
	default:
	}
}

func (a *testAuditor) Drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dropped++
}

// setFull sets whether there is no room.
func (a *testAuditor) setFull(full bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.full = full
}

// state returns the number of calls of Reserve, of rooms held, and of lines dropped.
func (a *testAuditor) state() (asked, held, dropped int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reserveCalls, a.held, a.dropped
}

// checkAudit checks that no room is held after an answer, and the number of dropped lines.
func (g *guardedSite) checkAudit(when string, dropped int) {
	g.t.Helper()
	if _, held, n := g.audit.state(); held != 0 || n != dropped {
		g.t.Errorf("%s: room for %d lines is held, %d were dropped, want %d", when, held, n, dropped)
	}
}

// noAuditRoomCase returns a request that fails because the audit has no room for its line.
func noAuditRoomCase(name, method, url string) exchangeCase {
	return exchangeCase{Name: name, Method: method, URL: url, WantCode: 503, WantError: "UNAVAILABLE", WantHeader: header{"Retry-After": "5"}}
}

// TestD4WritesWithoutAudit checks that while the audit has no room, content does not change, and
// requests without an audit line succeed.
func TestD4WritesWithoutAudit(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := g.tokenHeader("alice", "repository:team/app:pull,push,delete", "repository:team/other:pull,push")
	typed := alice.with(header{"Content-Type": imageType})
	layer := g.pushBlobAs(alice, "team/app", "layer")
	config, unnamed := g.pushBlobAs(alice, "team/app", "{}"), g.pushBlobAs(alice, "team/app", "in no manifest")
	payload := image("{}", "layer", "")
	g.runCasesAs(typed, []exchangeCase{
		{Name: "a manifest", Method: "PUT", URL: "/v2/team/app/manifests/v1", Body: payload, WantCode: 201},
		{Name: "a session", Method: "POST", URL: uploads, WantCode: 202, Save: "upload"},
	})
	g.checkAudit("while there is room", 0)

	g.audit.setFull(true)
	writes := []exchangeCase{
		noAuditRoomCase("a manifest by tag", "PUT", "/v2/team/app/manifests/v2"),
		noAuditRoomCase("a manifest by digest", "PUT", "/v2/team/app/manifests/"+sha256Of(payload+"\n")),
		noAuditRoomCase("a blob", "POST", uploads+"?digest="+sha256Of("x")),
		noAuditRoomCase("the end of an upload", "PUT", "{upload}?digest="+sha256Of("y")),
		noAuditRoomCase("a mount", "POST", "/v2/team/other/blobs/uploads/?from=team/app&mount="+layer),
		noAuditRoomCase("a tag's deletion", "DELETE", "/v2/team/app/manifests/v1"),
		noAuditRoomCase("a manifest's deletion", "DELETE", "/v2/team/app/manifests/"+sha256Of(payload)),
		noAuditRoomCase("a blob's deletion", "DELETE", "/v2/team/app/blobs/"+unnamed),
	}
	for i, body := range []string{payload, payload + "\n", "x", "y"} {
		writes[i].Body = body
	}
	g.runCasesAs(typed, writes)
	unchanged := func(when string) {
		t.Helper()
		g.runCasesAs(alice, []exchangeCase{
			{Name: when + ", the tag", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200, WantBody: payload},
			{Name: when + ", no other tag", Method: "GET", URL: "/v2/team/app/tags/list", WantCode: 200, WantBody: `{"name":"team/app","tags":["v1"]}`},
			{Name: when + ", no other manifest", Method: "GET", URL: "/v2/team/app/manifests/" + sha256Of(payload+"\n"), WantCode: 404},
			{Name: when + ", no blob", Method: "GET", URL: "/v2/team/app/blobs/" + sha256Of("x"), WantCode: 404},
			{Name: when + ", no blob of the upload", Method: "GET", URL: "/v2/team/app/blobs/" + sha256Of("y"), WantCode: 404},
			{Name: when + ", nothing mounted", Method: "GET", URL: "/v2/team/other/blobs/" + layer, WantCode: 404},
			{Name: when + ", the blob", Method: "GET", URL: "/v2/team/app/blobs/" + unnamed, WantCode: 200, WantBody: "in no manifest"},
		})
	}
	unchanged("without room")
	g.runCasesAs(alice, []exchangeCase{
		{Name: "the session", Method: "GET", URL: "{upload}", WantCode: 204},
		{Name: "a chunk", Method: "PATCH", URL: "{upload}", Body: "y", WantCode: 202},
		{Name: "another session", Method: "POST", URL: uploads, WantCode: 202, Save: "second"},
		{Name: "which ends", Method: "DELETE", URL: "{second}", WantCode: 204},
		{Name: "the blob's header", Method: "HEAD", URL: "/v2/team/app/blobs/" + config, WantCode: 200},
		{Name: "ping", Method: "GET", URL: "/v2/", WantCode: 200},
	})
	g.checkAudit("while there is none", 0)

	g.audit.setFull(false)
	unchanged("later")
	g.runCasesAs(typed, []exchangeCase{
		{Name: "the end of the upload", Method: "PUT", URL: "{upload}?digest=" + sha256Of("y"), WantCode: 201},
		{Name: "the mount", Method: "POST", URL: writes[4].URL, WantCode: 201},
		{Name: "the manifest", Method: "PUT", URL: writes[0].URL, Body: payload, WantCode: 201},
		{Name: "a mount of nothing", Method: "POST", URL: "/v2/team/other/blobs/uploads/?from=team/app&mount=" + sha256Of("nothing"), WantCode: 202},
		{Name: "a manifest of nothing", Method: "PUT", URL: writes[0].URL, Body: image("{}", "nothing", ""), WantCode: 400},
		{Name: "the blob's deletion", Method: "DELETE", URL: writes[7].URL, WantCode: 202},
		{Name: "once more", Method: "DELETE", URL: writes[7].URL, WantCode: 404},
	})
	g.checkAudit("when there is room again", 0)
}

// TestD4LoginsWithoutAudit checks that while the audit has no room, logins fail without disclosing
// whether the password was right. Denied requests are still denied.
func TestD4LoginsWithoutAudit(t *testing.T) {
	g := newGuardedSite(t, Options{})
	alice := g.tokenHeader("alice", "repository:team/app:pull")
	idToken := g.idToken("acme/app")
	form := header{"Content-Type": "application/x-www-form-urlencoded"}
	exchange := url.Values{"grant_type": {grantExchange}, "subject_token_type": {typeIDToken}, "subject_token": {idToken}}.Encode()
	g.audit.setFull(true)
	right, wrong := passwordHeader("alice"), basicHeader("alice", g.keepSecret("guess", "guess"))
	for _, at := range []exchangeCase{noAuditRoomCase("for a token", "GET", tokenPath), noAuditRoomCase("with a ping", "GET", "/v2/")} {
		at.Header = right
		_, one := g.exchange(at)
		at.Header = wrong
		if _, other := g.exchange(at); one != other {
			t.Errorf("%s a right password is answered %s, a wrong one %s", at.Name, one, other)
		}
	}
	anonymous := noAuditRoomCase("nobody, for a token", "GET", tokenPath)
	directly := noAuditRoomCase("a wrong password elsewhere", "GET", pulled)
	directly.Header = wrong
	job := noAuditRoomCase("a CI job", "POST", tokenPath)
	job.Header, job.Body = form, exchange
	g.runCases([]exchangeCase{anonymous, directly, job})
	g.checkAudit("after logins", 0)

	_, body := g.exchange(job)
	if !strings.Contains(body, `"error":"temporarily_unavailable"`) {
		t.Errorf("the token endpoint answers %s", body)
	}
	g.runCases([]exchangeCase{
		{Name: "a token that is none", Method: "GET", URL: pulled, Header: bearerHeader("x.y.z"), WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "more than the token", Method: "PUT", URL: "/v2/team/app/manifests/v1", Header: alice, WantCode: 401, WantError: "UNAUTHORIZED"},
		{Name: "more than the policy", Method: "GET", URL: "/v2/bob/app/tags/list", Header: right, WantCode: 403, WantError: "DENIED"},
	})
	g.checkAudit("after denials", 3)

	g.audit.setFull(false)
	if g.status("POST", tokenPath, form, exchange) != 200 {
		t.Error("the CI job's token is used up by what was not done")
	}
	if g.status("GET", tokenPath, right, "") != 200 {
		t.Error("alice cannot log in when there is room again")
	}
	g.checkAudit("when there is room again", 3)
}

// TestD4SlowBodyHoldsNoRoom checks that a client that sends a body slowly holds no room in the
// audit.
func TestD4SlowBodyHoldsNoRoom(t *testing.T) {
	audit := newAuditor()
	s := newSite(t, Options{Audit: audit})
	s.pushImage("team/app", "v1", "")
	s.openUpload("team/app")
	session, _ := s.savedUpload()
	payload := image("{}", "layer", "\n")
	for _, c := range []struct {
		line string
		room int
	}{
		{"PUT /v2/team/app/manifests/v2", 1},
		{"POST " + uploads + "?digest=" + sha256Of(payload), 1},
		{"PATCH " + session, 0},
		{"PUT " + session + "?digest=" + sha256Of(payload+payload), 1},
	} {
		line, room := c.line, c.room
		before, _, _ := audit.state()
		conn := s.dial(line + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + imageType + "\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
		answer := bufio.NewReader(conn)
		if line, err := answer.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("%q, %v", line, err) // which the first read of the body sends
		}
		if _, err := answer.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if asked, held, _ := audit.state(); asked != before || held != 0 {
			t.Errorf("%s: room was asked for %d times before the body came, and %d are held", line, asked-before, held)
		}
		if _, err := fmt.Fprintf(conn, "%x\r\n%s\r\n0\r\n\r\n", len(payload), payload); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(answer, nil)
		if err != nil || resp.StatusCode >= 300 {
			t.Fatalf("%s: %v, %v", line, resp, err)
		}
		if asked, held, _ := audit.state(); asked != before+room || held != 0 {
			t.Errorf("%s: room was asked for %d times, and %d are held", line, asked-before, held)
		}
	}
}

// TestD4RefusedBodyHoldsNoRoom checks the same for a body that is drained after an error.
func TestD4RefusedBodyHoldsNoRoom(t *testing.T) {
	audit := newAuditor()
	s := newSite(t, Options{Audit: audit})
	s.pushBlob("team/app", "x")
	<-audit.released
	conn := s.dial("DELETE /v2/team/app/manifests/none HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n")
	<-audit.released // before the rest of the body is drained
	if _, err := io.WriteString(conn, "{}\n"); err != nil {
		t.Fatal(err)
	}
	resp, _ := s.readAnswer(conn, "DELETE")
	if resp.StatusCode != http.StatusNotFound || resp.Close {
		t.Errorf("%s, and the connection ends: %v", resp.Status, resp.Close)
	}
}

// TestD4LeavingSparesNoLine checks that a client cannot prevent the audit line of a denial by
// leaving: its context does not end the wait for room.
func TestD4LeavingSparesNoLine(t *testing.T) {
	g := newGuardedSite(t, Options{})
	g.audit.setFull(true)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	r := httptest.NewRequestWithContext(ctx, "GET", "http://registry.test"+pulled, nil)
	r.Header.Set("Authorization", "Bearer x.y.z")
	g.serve(httptest.NewRecorder(), r)
	if g.audit.reserveCalls != 1 || g.audit.canceled != 0 || g.audit.dropped != 1 {
		t.Errorf("room was asked for %d times, of those %d for a client that has left; %d lines were dropped", g.audit.reserveCalls, g.audit.canceled, g.audit.dropped)
	}
}
