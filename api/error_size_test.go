package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// checkErrorSize checks that an answer is an error that every client can read: the strictest read
// 8 KiB of it, and show nothing of truncated JSON.
func checkErrorSize(t *testing.T, name string, resp *http.Response, body string) {
	t.Helper()
	var e struct {
		Errors []struct{ Code, Message string }
	}
	err := json.Unmarshal([]byte(body), &e)
	if len(body) >= 8<<10 || err != nil || len(e.Errors) != 1 || e.Errors[0].Code == "" || e.Errors[0].Message == "" {
		t.Errorf("%s: %d, an error of %d bytes, %v: %.300s", name, resp.StatusCode, len(body), err, body)
	}
}

// hostileTexts returns texts of at most n characters, percent-encoded, that grow in a message: JSON
// escapes them, or %q does, or both.
func hostileTexts(n int) []string {
	var texts []string
	for _, c := range []string{"x", "%3C", "%01", "%FF"} {
		texts = append(texts, strings.Repeat(c, n/len(c)))
	}
	return texts
}

// hostileRequest is a request with one hostile part.
type hostileRequest struct {
	url   string
	field string // of the header
	value string
	body  string
}

// hostileRequests returns requests to a path in which each part in turn is hostile.
func hostileRequests(path string) (all []hostileRequest) {
	fill := func(name, element string) string {
		return strings.NewReplacer("{name}", name, "{element}", element, "{/}", "/").Replace(path)
	}
	plain := fill("alice/app", sha256Of("x"))
	for _, text := range slices.Concat(hostileTexts(128), hostileTexts(255), hostileTexts(900), hostileTexts(40_000)) {
		all = append(all, hostileRequest{url: fill(text, "x")}, hostileRequest{url: fill("alice/app", text)},
			hostileRequest{url: fill("alice/app", "sha256:"+text)})
	}
	for _, text := range hostileTexts(40_000) {
		for _, parameter := range []string{
			"n", "last", "digest", "mount", "from", "digest-algorithm", "tag", "artifactType", "service", "scope", text,
		} {
			all = append(all, hostileRequest{url: plain + "?" + parameter + "=" + text[:12]},
				hostileRequest{url: plain + "?" + parameter[:min(len(parameter), 12)] + "=" + text},
				hostileRequest{url: plain + "?x" + strings.Repeat("&"+parameter[:min(len(parameter), 12)]+"="+text[:12], 1_500)})
		}
		raw, _ := url.PathUnescape(text)
		value := strings.ReplaceAll(raw, "\x01", "<") // no client sends control characters
		for _, field := range []string{
			"Authorization", "Content-Type", "Content-Range", "Content-Encoding", "Range", "If-Match", "If-None-Match", "Origin",
		} {
			all = append(all, hostileRequest{url: plain, field: field, value: value, body: "x"},
				hostileRequest{url: plain, field: field, value: "bytes=" + value})
		}
		const form = "application/x-www-form-urlencoded"
		all = append(all, hostileRequest{url: plain + "?n=%" + text}, hostileRequest{url: plain, body: raw},
			hostileRequest{url: plain, field: "Content-Type", value: form, body: "grant_type=" + text},
			hostileRequest{url: plain, field: "Content-Type", value: form, body: "grant_type=password&service=" + text},
			hostileRequest{url: plain, field: "Content-Type", value: imageType, body: `{"schemaVersion":2,"` + raw + `":1,"` + raw + `":2}`})
	}
	return all
}

// TestErrorsOfAllRoutesAreShort sends long and escaped texts in each part of requests to each route.
func TestErrorsOfAllRoutesAreShort(t *testing.T) {
	g := newGuardedSite(t, Options{})
	g.SetReady(true)
	h := g.tokenHeader("alice", "repository:alice/app:pull,push,delete", "registry:catalog:*")
	g.pushImageAs(h, "alice/app", "v1")
	for _, row := range append(routes(), authRoutes()...) {
		failed := 0
		for method := range strings.FieldsSeq(strings.TrimSuffix(row.methods, " HEAD") + " " + strings.Repeat("BREW", 500)) {
			for _, c := range hostileRequests(row.path) {
				header := header{"Authorization": h["Authorization"]}
				if c.field != "" {
					header[c.field] = c.value
				}
				resp, body := g.do(method, c.url, header, c.body)
				if resp.StatusCode < 400 {
					continue
				}
				failed++
				checkErrorSize(t, fmt.Sprintf("%.9s %.80s %s %.80q %.80q", method, c.url, c.field, c.value, c.body), resp, body)
			}
		}
		if failed < 100 { // the last method alone makes more
			t.Errorf("%s %s: only %d errors", row.methods, row.path, failed)
		}
	}
}

// missingLayers returns an image of n layers that no repository has.
func missingLayers(n int, digestOf func(string) string) string {
	layers := make([]string, n)
	for i := range layers {
		layers[i] = fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":1}`, digestOf(strconv.Itoa(i)))
	}
	return `{"schemaVersion":2,"mediaType":"` + imageType + `","config":{"mediaType":"a/b","digest":"` + sha256Of("{}") + `","size":2},"layers":[` + strings.Join(layers, ",") + `]}`
}

// TestErrorsOfManifestsAreShort pushes manifests with much that is wrong.
func TestErrorsOfManifestsAreShort(t *testing.T) {
	s := newSite(t, Options{})
	s.pushBlob("a", "{}")
	long := strings.Repeat("<", 50_000)
	for name, c := range map[string]struct{ payload, message string }{
		"20 missing layers":     {missingLayers(20, sha256Of), "the manifest names 20 contents that the repository does not have: push them first"},
		"21 missing layers":     {missingLayers(21, sha256Of), "names 21 contents that the repository does not have: push them first (the detail has the first 20, and leaves out 1)"},
		"150 missing layers":    {missingLayers(150, sha512Of), "names 150 contents that the repository does not have: push them first (the detail has the first 20, and leaves out 130)"},
		"20,000 missing layers": {missingLayers(20_000, sha256Of), "(the detail has the first 20, and leaves out 19980)"},
		"a value":               {`{"schemaVersion":"` + long + `"}`, "schemaVersion"},
		"a key":                 {image("{}", "x", `,"annotations":{"`+long+`":1}`), "annotations"},
		"a media type":          {`{"mediaType":"` + long + `"}`, "mediaType"},
		"a digest":              {strings.Replace(missingLayers(1, sha256Of), "sha256:", long, 1), "config.digest"},
		"a digit":               {strings.Replace(missingLayers(1, sha256Of), `"size":2`, `"size":`+strings.Repeat("9", 50_000), 1), "config.size"},
	} {
		resp, body := s.exchange(exchangeCase{
			Name: name, Method: "PUT", URL: "/v2/a/manifests/v1", Header: header{"Content-Type": imageType}, Body: c.payload, WantCode: 400,
		})
		checkErrorSize(t, name, resp, body)
		if !strings.Contains(body, c.message) || strings.Count(body, `{"digest":`) > 20 {
			t.Errorf("%s: the error is %s", name, body)
		}
	}
}

// TestErrorsOfTrailersAreShort ends chunked bodies with trailers that are none. net/http quotes
// them in its error.
func TestErrorsOfTrailersAreShort(t *testing.T) {
	s := newSite(t, Options{})
	s.openUpload("team/app")
	url, _ := s.savedUpload()
	d := sha256Of("x")
	for _, target := range []string{
		"PATCH " + url, "PUT " + url + "?digest=" + d, "POST " + uploads + "?digest=" + d, "PUT /v2/team/app/manifests/v1",
	} {
		for _, trailer := range []string{"x", "<", "\x01", `"`, "\xff"} {
			for _, chunk := range []string{"1\r\nx\r\n", ""} {
				method, _, _ := strings.Cut(target, " ")
				resp, body := s.sendRaw(target+" HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"+
					chunk+"0\r\n"+strings.Repeat(trailer, 3800)+"\r\n\r\n", method)
				if resp.StatusCode != http.StatusBadRequest {
					t.Errorf("%s with the trailer %q: %d", target, trailer, resp.StatusCode)
				}
				checkErrorSize(t, fmt.Sprintf("%s with the trailer %q", target, trailer), resp, body)
			}
		}
	}
}

// TestLongErrorIsCut answers errors that no part of the registry has made short.
func TestLongErrorIsCut(t *testing.T) {
	for _, long := range []string{"x", "<", "\x01", `"`, "\xff", "ä", "\U000e0001"} {
		text := strings.Repeat(long, 100_000)
		for name, err := range map[string]*manifest.Error{
			"message": {Kind: storage.ErrBlobUnknown, Message: text},
			"detail":  {Kind: storage.ErrBlobUnknown, Message: "short", Detail: []string{text}},
			"both":    {Kind: storage.ErrBlobUnknown, Message: text, Detail: text},
		} {
			for _, oauth := range []string{"", "invalid_request"} {
				body, encodeErr := encodeError(failureOf(err, problem{kind: storage.ErrBlobUnknown, code: codeBlobUnknown}), oauth)
				if encodeErr != nil || len(body) >= 8<<10 || !json.Valid(body) {
					t.Errorf("%s of %q: %d bytes, %v", name, long, len(body), encodeErr)
				}
			}
		}
	}
	_, err := encodeError(failure{Detail: func() {}}, "")
	if want := (*json.UnsupportedTypeError)(nil); !errors.As(err, &want) {
		t.Errorf("a detail that is no JSON: %v", err)
	}
}
