package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// header is the notation of a header in tables, with one value for each field.
type header map[string]string

// absent is the wanted value of a field that must not be in the answer.
const absent = "\x00absent"

// exchangeCase is a request and its wanted answer. "{name}" in URL and in the values of Header
// stands for the Location that an earlier case saved under that name.
type exchangeCase struct {
	Name   string
	Method string
	URL    string
	Header header
	Body   string

	WantCode   int
	WantHeader header
	WantBody   string // the whole body; "" for any
	WantError  string // the code of the only error in the body
	WantDetail string // a part of that error's detail

	Save string // saves Location under this name
}

// runCases makes the exchanges one after the other.
func (s *site) runCases(cases []exchangeCase) {
	s.t.Helper()
	for _, c := range cases {
		s.exchange(c)
	}
}

func (s *site) exchange(c exchangeCase) (*http.Response, string) {
	s.t.Helper()
	var body io.Reader
	if c.Body != "" {
		body = strings.NewReader(c.Body)
	}
	req, err := http.NewRequest(c.Method, "http://"+s.addr, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if req.URL, err = req.URL.Parse(s.expand(c.URL)); err != nil {
		s.t.Fatal(err)
	}
	for k, v := range c.Header {
		if k == "Host" {
			req.Host = v
			continue
		}
		for value := range strings.SplitSeq(s.expand(v), "\n") {
			req.Header.Add(k, value)
		}
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		s.t.Errorf("%s: %s %s: %v", c.Name, c.Method, c.URL, err)
		return nil, ""
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Errorf("%s: %s %s: body: %v", c.Name, c.Method, c.URL, err)
	}
	if c.Save != "" {
		s.saved[c.Save] = resp.Header.Get("Location")
	}
	s.check(c, resp, string(got))
	return resp, string(got)
}

// check compares an answer with the wanted one. A failure prints the whole exchange, ready to
// paste.
func (s *site) check(c exchangeCase, resp *http.Response, body string) {
	s.t.Helper()
	if failures := s.failures(c, resp, body); len(failures) > 0 {
		s.t.Errorf("%s: %s\n%s", c.Name, strings.Join(failures, "; "), s.transcript(c, resp, body))
	}
}

// failures returns the differences between an answer and the wanted one.
func (s *site) failures(c exchangeCase, resp *http.Response, body string) (failures []string) {
	fail := func(format string, args ...any) { failures = append(failures, fmt.Sprintf(format, args...)) }
	if resp.StatusCode != c.WantCode {
		fail("%d, want %d", resp.StatusCode, c.WantCode)
	}
	for k, want := range c.WantHeader {
		got := strings.Join(resp.Header.Values(k), "\n")
		switch {
		case want == absent && got != "":
			fail("%s is %q, want none", k, got)
		case want != absent && got != s.expand(want):
			fail("%s is %q, want %q", k, got, s.expand(want))
		}
	}
	if c.WantBody != "" && body != c.WantBody {
		fail("the body is not %q", excerpt(c.WantBody))
	}
	if resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("X-Request-Id") == "" {
		fail("lacks X-Content-Type-Options or X-Request-Id")
	}
	url := s.expand(c.URL)
	protocol := url == "/v2" || strings.HasPrefix(url, "/v2/")
	if v := resp.Header.Get("Docker-Distribution-Api-Version"); protocol != (v == "registry/2.0") {
		fail("Docker-Distribution-Api-Version is %q", v)
	}
	if c.WantError != "" {
		failures = append(failures, c.errorFailures(resp, body)...)
	}
	return failures
}

// errorFailures returns what is wrong with an error's answer.
func (c exchangeCase) errorFailures(resp *http.Response, body string) (failures []string) {
	if t := resp.Header.Get("Content-Type"); t != "application/json" {
		failures = append(failures, fmt.Sprintf("an error of type %q", t))
	}
	if c.Method == http.MethodHead {
		return failures
	}
	var e struct {
		Errors []struct {
			Code, Message string
			Detail        json.RawMessage
		}
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil || len(e.Errors) != 1 {
		return append(failures, fmt.Sprintf("an error body of %d errors: %v", len(e.Errors), err))
	}
	if got := e.Errors[0]; got.Code != c.WantError || got.Message == "" || !strings.Contains(string(got.Detail), c.WantDetail) {
		failures = append(failures, fmt.Sprintf("the error is not %s with detail %q", c.WantError, c.WantDetail))
	}
	return failures
}

// transcript returns an exchange as text, with a request that can be sent again.
func (s *site) transcript(c exchangeCase, resp *http.Response, body string) string {
	var b strings.Builder
	host, fields := "localhost", http.Header{}
	for k, v := range c.Header {
		if k == "Host" {
			host = v
			continue
		}
		fields[k] = strings.Split(s.expand(v), "\n")
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", c.Method, s.expand(c.URL), host)
	fields.Write(&b)
	if c.Body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(c.Body))
	}
	fmt.Fprintf(&b, "\r\n%s\n\n%s %s\r\n", excerpt(c.Body), resp.Proto, resp.Status)
	resp.Header.Write(&b)
	fmt.Fprintf(&b, "\r\n%s", excerpt(body))
	return strings.ReplaceAll(b.String(), "\r\n", "\n")
}

// excerpt returns the body for a failure message, shortened if it is long.
func excerpt(body string) string {
	const most = 4 << 10
	if len(body) <= most {
		return body
	}
	return fmt.Sprintf("%s… (%d bytes)", body[:most], len(body))
}

// TestFailedExchange checks that a wrong answer is reported with each difference, and with the
// exchange as text.
func TestFailedExchange(t *testing.T) {
	s := newSite(t, Options{})
	s.saved["name"] = "team/app"
	c := exchangeCase{Name: "a blob", Method: "GET", URL: "/v2/{name}/tags/list", Header: header{"Host": "r.example", "Accept": "a\nb"}, WantCode: 404, WantError: "NAME_UNKNOWN"}
	resp, body := s.exchange(c)
	if failures := s.failures(c, resp, body); len(failures) > 0 {
		t.Fatal(failures)
	}
	text := s.transcript(c, resp, body)
	if want := "GET /v2/team/app/tags/list HTTP/1.1\nHost: r.example\nAccept: a\nAccept: b\n\n\n\nHTTP/1.1 404 Not Found\n"; !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "\n\n"+body) {
		t.Errorf("the exchange is shown as\n%s\nwant it to begin with\n%s", text, want)
	}
	for name, wrong := range map[string]exchangeCase{
		"the status":  {URL: "/v2/", WantCode: 200},
		"the header":  {URL: "/v2/", WantCode: 404, WantHeader: header{"Etag": "x"}},
		"a field":     {URL: "/v2/", WantCode: 404, WantHeader: header{"Content-Type": absent}},
		"the body":    {URL: "/v2/", WantCode: 404, WantBody: "{}"},
		"the version": {URL: "/livez", WantCode: 404},
		"the error":   {URL: "/v2/", WantCode: 404, WantError: "DENIED"},
		"its detail":  {URL: "/v2/", WantCode: 404, WantError: "NAME_UNKNOWN", WantDetail: "more"},
	} {
		if failures := s.failures(wrong, resp, body); len(failures) != 1 {
			t.Errorf("%s is wrong: %q", name, failures)
		}
	}
}

// dial opens a connection and sends text.
func (s *site) dial(text string) net.Conn {
	s.t.Helper()
	conn, err := s.connect()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// sendRaw sends text unchanged and returns the answer.
func (s *site) sendRaw(text, method string) (*http.Response, string) {
	s.t.Helper()
	return s.readAnswer(s.dial(text), method)
}

func (s *site) readAnswer(conn net.Conn, method string) (*http.Response, string) {
	s.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp, string(body)
}

// expand replaces "{name}" by the value that was saved under that name.
func (s *site) expand(text string) string {
	for name, value := range s.saved {
		text = strings.ReplaceAll(text, "{"+name+"}", value)
	}
	return text
}

func sha256Of(content string) string { return digest.SHA256.FromString(content).String() }
func sha512Of(content string) string { return digest.SHA512.FromString(content).String() }

// pushBlob pushes a blob and returns its digest.
func (s *site) pushBlob(repo, content string) (d string) {
	s.t.Helper()
	d = sha256Of(content)
	s.exchange(exchangeCase{
		Name: "push a blob", Method: "POST", URL: "/v2/" + repo + "/blobs/uploads/?digest=" + d, Body: content, WantCode: 201,
	})
	return d
}

const (
	imageType = "application/vnd.oci.image.manifest.v1+json"
	indexType = "application/vnd.oci.image.index.v1+json"
)

// image returns an image manifest with a config and one layer. more is inserted unchanged before
// the end, such as `,"annotations":{}`.
func image(config, layer, more string) string {
	b, err := json.Marshal(map[string]any{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": sha256Of(layer), "size": len(layer)})
	if err != nil {
		panic(err)
	}
	c, err := json.Marshal(map[string]any{"mediaType": "application/vnd.oci.image.config.v1+json", "digest": sha256Of(config), "size": len(config)})
	if err != nil {
		panic(err)
	}
	return `{"schemaVersion":2,"mediaType":"` + imageType + `","config":` + string(c) + `,"layers":[` + string(b) + `]` + more + `}`
}

// pushImage pushes an image and its blobs.
func (s *site) pushImage(repo, reference, more string) (payload, d string) {
	s.t.Helper()
	s.pushBlob(repo, "{}")
	s.pushBlob(repo, "layer")
	payload = image("{}", "layer", more)
	d = sha256Of(payload)
	if reference == "" {
		reference = d
	}
	s.exchange(exchangeCase{
		Name: "push an image", Method: "PUT", URL: "/v2/" + repo + "/manifests/" + reference,
		Header: header{"Content-Type": imageType}, Body: payload, WantCode: 201,
	})
	return payload, d
}
