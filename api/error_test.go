package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// failingRegistry is a registry that returns an error.
type failingRegistry struct {
	Registry
	err error
}

func (f failingRegistry) Blob(context.Context, string, digest.Digest) (storage.Blob, error) {
	return storage.Blob{}, f.err
}

// TestErrors answers each kind of error: unchanged, wrapped, and as a manifest.Error with a message
// and detail.
func TestErrors(t *testing.T) {
	d := sha256Of("x")
	for _, p := range problems {
		if p.status < 400 || p.code == "" || p.kind == nil {
			t.Errorf("%v is answered %d %q", p.kind, p.status, p.code)
		}
		for _, err := range []error{
			p.kind,
			fmt.Errorf("asking for a blob: %w", p.kind),
			manifest.Errorf(p.kind, "what is wrong"),
			fmt.Errorf("asking for a blob: %w", &manifest.Error{Kind: p.kind, Message: "what is wrong", Detail: []string{"this"}}),
		} {
			s := serveRegistry(t, failingRegistry{err: err}, Options{})
			c := exchangeCase{Name: err.Error(), Method: "GET", URL: "/v2/a/blobs/" + d, WantCode: p.status, WantError: p.code}
			var e *manifest.Error
			if errors.As(err, &e) && e.Detail != nil {
				c.WantDetail = `["this"]`
			}
			resp, body := s.exchange(c)
			if strings.Contains(body, "asking") || e != nil && !strings.Contains(body, "what is wrong") {
				t.Errorf("%v: %s", err, body)
			}
			if (resp.Header.Get("Retry-After") != "") != (p.retryAfter > 0) {
				t.Errorf("%v: Retry-After is %q", err, resp.Header.Get("Retry-After"))
			}
			if logged := strings.Contains(s.log.String(), `"error":`); logged != p.logged {
				t.Errorf("%v: logged is %v", err, logged)
			}
		}
	}
}

// TestCodes checks that every error code of the OCI spec and of Docker is in the table.
func TestCodes(t *testing.T) {
	for _, code := range []string{
		codeBlobUnknown, codeBlobUploadInvalid, codeBlobUploadUnknown, codeDenied, codeDigestInvalid, codeManifestBlobUnknown,
		codeManifestInvalid, codeManifestUnknown, codeManifestUnverified, codeNameInvalid, codeNameUnknown, codePagination,
		codeRangeInvalid, codeSizeInvalid, codeTagInvalid, codeTooManyRequests, codeUnauthorized, codeUnavailable, codeUnsupported,
	} {
		if !slices.ContainsFunc(problems, func(p problem) bool { return p.code == code }) {
			t.Errorf("nothing is answered %s", code)
		}
	}
}

// TestInternalError checks that an unknown error is logged and not sent to the client. Both have
// the id of the request.
func TestInternalError(t *testing.T) {
	s := serveRegistry(t, failingRegistry{err: errors.New("open /var/secret: permission denied")}, Options{})
	resp, body := s.exchange(exchangeCase{
		Name: "internal", Method: "GET", URL: "/v2/a/blobs/" + sha256Of("x") + "?secret=1", WantCode: 500, WantError: "UNKNOWN",
		WantBody: `{"errors":[{"code":"UNKNOWN","message":"internal error"}]}`, WantHeader: header{"Etag": absent},
	})
	line := s.log.await(`"level":"ERROR"`)
	if !strings.Contains(line, "open /var/secret: permission denied") || !strings.Contains(line, resp.Header.Get("X-Request-Id")) {
		t.Errorf("logged %s", line)
	}
	if strings.Contains(s.log.String(), "secret=1") || strings.Contains(body, "/var") {
		t.Error("the query is in the log, or the error in the answer")
	}
}

// TestPanic has a handler panic: the connection is closed and the server goes on.
func TestPanic(t *testing.T) {
	s := serveRegistry(t, nil, Options{}) // every call to it panics
	if said := readUntilClosed(s.dial("GET /v2/a/tags/list HTTP/1.1\r\nHost: localhost\r\n\r\n")); said != "" {
		t.Errorf("answered %q", said)
	}
	s.log.await(`"msg":"request"`, `"status":500`, `"route":"tags"`)
	s.log.await(`panic serving`)
	s.exchange(exchangeCase{Name: "the next", Method: "GET", URL: "/v2/", WantCode: 200})
}

func TestLog(t *testing.T) {
	s := newSite(t, Options{})
	payload, _ := s.pushImage("team/app", "v1", "")
	s.exchange(exchangeCase{
		Name: "logged", Method: "GET", URL: "/v2/team/app/manifests/v1?token=secret", WantCode: 200,
		Header:     header{"X-Request-Id": "my-id.1", "User-Agent": "tester/1", "Authorization": "Bearer secret", "Cookie": "secret"},
		WantHeader: header{"X-Request-Id": "my-id.1"},
	})
	line := s.log.await(`"client_request_id":"my-id.1"`)
	for _, part := range []string{
		`"level":"INFO"`, `"msg":"request"`, `"method":"GET"`, `"route":"manifest"`, `"repository":"team/app"`, `"reference":"v1"`, `"status":200`,
		fmt.Sprintf(`"bytes":%d,`, len(payload)), `"duration":`, `"user_agent":"tester/1"`, `"remote":"127.0.0.1:`,
	} {
		if !strings.Contains(line, part) {
			t.Errorf("the line lacks %s: %s", part, line)
		}
	}
	if strings.Contains(line, "secret") {
		t.Errorf("a secret is logged: %s", line)
	}
	long := strings.Repeat("x", maxPath-len("/v2/UPPER/manifests/"))
	for _, id := range []string{"a b", "a\"b", "", strings.Repeat("x", 129)} {
		resp, _ := s.exchange(exchangeCase{Name: "an id that is none", Method: "HEAD", URL: "/v2/UPPER/manifests/" + long, Header: header{"X-Request-Id": id, "User-Agent": strings.Repeat(long, 5)}, WantCode: 400})
		if got := resp.Header.Get("X-Request-Id"); got == id || got == "" {
			t.Errorf("the id %q is answered with %q", id, got)
		} else if line := s.log.await(got); len(line) > 2000 || !strings.Contains(line, `"repository":"UPPER"`) {
			t.Errorf("%d bytes of a client's are logged: %s", len(line), line)
		}
	}
	s.exchange(exchangeCase{Name: "health", Method: "GET", URL: "/livez", WantCode: 200})
	s.log.await(`"level":"DEBUG"`, `"route":"livez"`)
}

func TestMetrics(t *testing.T) {
	s := newSite(t, Options{})
	payload, _ := s.pushImage("team/app", "v1", "")
	s.runCases([]exchangeCase{
		{Name: "manifest", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200},
		{Name: "manifest", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200},
		{Name: "head", Method: "HEAD", URL: "/v2/team/app/manifests/v1", WantCode: 200},
		{Name: "absent", Method: "GET", URL: "/v2/team/app/manifests/v2", WantCode: 404},
		{Name: "method", Method: "BREW", URL: "/v2/team/app/manifests/v1", WantCode: 405},
		{Name: "nowhere", Method: "GET", URL: "/nowhere", WantCode: 404},
	})
	s.log.await(`"status":404`, `"route":""`) // the last one is counted
	registry := prometheus.NewPedanticRegistry()
	for _, c := range s.Collectors() {
		registry.MustRegister(c)
	}
	const want = `
# HELP berth_http_requests_total Requests answered, by route, method and status code. The code is 499 when the client left before the answer.
# TYPE berth_http_requests_total counter
berth_http_requests_total{code="200",method="GET",route="manifest"} 2
berth_http_requests_total{code="200",method="HEAD",route="manifest"} 1
berth_http_requests_total{code="201",method="POST",route="uploads"} 2
berth_http_requests_total{code="201",method="PUT",route="manifest"} 1
berth_http_requests_total{code="404",method="GET",route="manifest"} 1
berth_http_requests_total{code="404",method="GET",route="none"} 1
berth_http_requests_total{code="405",method="other",route="manifest"} 1
# HELP berth_http_requests_in_flight Requests being answered.
# TYPE berth_http_requests_in_flight gauge
berth_http_requests_in_flight 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "berth_http_requests_total", "berth_http_requests_in_flight"); err != nil {
		t.Error(err)
	}
	if got, least := testutil.ToFloat64(s.metrics.sent), float64(2*len(payload)); got < least {
		t.Errorf("%v bytes were sent, want %v at least", got, least)
	}
	if got, want := testutil.ToFloat64(s.metrics.received), float64(len("{}layer")+len(payload)); got != want {
		t.Errorf("%v bytes were received, want %v", got, want)
	}
}

// TestClientGone has a client leave while storage works.
func TestClientGone(t *testing.T) {
	s := serveRegistry(t, waitingRegistry{}, Options{})
	conn := s.dial("GET /v2/a/blobs/" + sha256Of("x") + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
	conn.Close()
	s.log.await(`"route":"blob"`, `"status":499`)
	if strings.Contains(s.log.String(), "internal error") {
		t.Errorf("a client that left is an internal error: %s", s.log)
	}
}

// waitingRegistry is a registry that waits until the client leaves.
type waitingRegistry struct{ Registry }

func (waitingRegistry) Blob(ctx context.Context, _ string, _ digest.Digest) (storage.Blob, error) {
	<-ctx.Done()
	return storage.Blob{}, fmt.Errorf("reading rows: %w", ctx.Err())
}

// TestDefaults makes an API with nothing but a registry and a policy.
func TestDefaults(t *testing.T) {
	a := New(nil, Options{Policy: auth.Open{}, Version: "1.2"})
	r := &readFromRecorder{quietWriter: quietWriter{make(http.Header)}}
	req, err := http.NewRequest("GET", "/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	a.serve(r, req)
	if r.body.String() != "{}" || r.header.Get("Server") != "berth/1.2" {
		t.Errorf("answered %q with %v", r.body.String(), r.header)
	}
	if New(nil, Options{MaxManifest: 100 << 20}).options.ManifestMemory < 100<<20 {
		t.Error("there is not memory enough for one manifest")
	}
}
