package api

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/auth"
	"github.com/berth-registry/berth/storage"
)

const uploads = "/v2/team/app/blobs/uploads/"

// savedUpload returns the URL and id of the upload session that was saved as "upload".
func (s *site) savedUpload() (url, id string) {
	url = s.saved["upload"]
	return url, url[strings.LastIndexByte(url, '/')+1:]
}

// openUpload opens an upload session and saves it as "upload".
func (s *site) openUpload(repo string) {
	s.t.Helper()
	resp, _ := s.exchange(exchangeCase{
		Name: "open", Method: "POST", URL: "/v2/" + repo + "/blobs/uploads/", WantCode: 202, Save: "upload",
		WantHeader: header{"Range": "0-0", "Content-Length": "0"},
	})
	url, id := s.savedUpload()
	if !strings.HasPrefix(url, "/v2/"+repo+"/blobs/uploads/") || id == "" || resp.Header.Get("Docker-Upload-UUID") != id {
		s.t.Errorf("a session is at %q with id %q", url, resp.Header.Get("Docker-Upload-UUID"))
	}
	s.saved["id"] = id
}

func uploadHeader(r string) header {
	return header{"Location": "{upload}", "Docker-Upload-Uuid": "{id}", "Range": r}
}

func contentRange(r string) header { return header{"Content-Range": r} }

func TestChunks(t *testing.T) {
	s := newSite(t, Options{})
	s.openUpload("team/app")
	const content = "0123456789"
	d := sha256Of(content)
	blob := header{"Location": "/v2/team/app/blobs/" + d, "Docker-Content-Digest": d, "Content-Length": "0"}
	s.runCases([]exchangeCase{
		{Name: "status of nothing", Method: "GET", URL: "{upload}", WantCode: 204, WantHeader: uploadHeader("0-0")},
		{
			Name: "with a range", Method: "PATCH", URL: "{upload}", Header: contentRange("0-3"), Body: content[:4],
			WantCode: 202, WantHeader: uploadHeader("0-3"),
		},
		{Name: "status", Method: "GET", URL: "{upload}", WantCode: 204, WantHeader: uploadHeader("0-3")},
		{
			Name: "again", Method: "PATCH", URL: "{upload}", Header: contentRange("0-3"), Body: content[:4],
			WantCode: 416, WantHeader: uploadHeader("0-3"), WantError: "RANGE_INVALID",
		},
		{
			Name: "too far", Method: "PATCH", URL: "{upload}", Header: contentRange("5-6"), Body: content[5:7],
			WantCode: 416, WantHeader: uploadHeader("0-3"), WantError: "RANGE_INVALID",
		},
		{
			Name: "backwards", Method: "PATCH", URL: "{upload}", Header: contentRange("6-5"), Body: content[5:7],
			WantCode: 416, WantHeader: uploadHeader("0-3"), WantError: "RANGE_INVALID",
		},
		{
			Name: "longer than the range", Method: "PATCH", URL: "{upload}", Header: contentRange("4-5"), Body: content[4:7],
			WantCode: 400, WantError: "SIZE_INVALID",
		},
		{
			Name: "shorter than the range", Method: "PATCH", URL: "{upload}", Header: contentRange("4-9"), Body: content[4:7],
			WantCode: 400, WantError: "SIZE_INVALID",
		},
		{
			Name: "a range and no bytes", Method: "PATCH", URL: "{upload}", Header: contentRange("4-4"),
			WantCode: 400, WantError: "SIZE_INVALID",
		},
		{
			Name: "no range", Method: "PATCH", URL: "{upload}", Header: contentRange("4"), Body: content[4:5],
			WantCode: 400, WantError: "BLOB_UPLOAD_INVALID",
		},
		{
			Name: "a negative range", Method: "PATCH", URL: "{upload}", Header: contentRange("-4-5"), Body: content[4:6],
			WantCode: 400, WantError: "BLOB_UPLOAD_INVALID",
		},
		{
			Name: "a huge range", Method: "PATCH", URL: "{upload}", Header: contentRange("4-99999999999999999999"), Body: content[4:6],
			WantCode: 400, WantError: "BLOB_UPLOAD_INVALID",
		},
		{
			Name: "two ranges", Method: "PATCH", URL: "{upload}", Header: contentRange("4-4\n5-5"), Body: content[4:5],
			WantCode: 400, WantError: "BLOB_UPLOAD_INVALID",
		},
		{Name: "nothing", Method: "PATCH", URL: "{upload}", WantCode: 202, WantHeader: uploadHeader("0-3")},
		{Name: "without a range", Method: "PATCH", URL: "{upload}", Body: content[4:5], WantCode: 202, WantHeader: uploadHeader("0-4")},
		{
			Name: "as HTTP has it", Method: "PATCH", URL: "{upload}", Header: contentRange("bytes 5-6/*"), Body: content[5:7],
			WantCode: 202, WantHeader: uploadHeader("0-6"),
		},
		{
			Name: "as HTTP has it, of a length", Method: "PATCH", URL: "{upload}", Header: contentRange("bytes=7-7/10"), Body: content[7:8],
			WantCode: 202, WantHeader: uploadHeader("0-7"),
		},
		{
			Name: "close at the wrong place", Method: "PUT", URL: "{upload}?digest=" + d, Header: contentRange("9-9"), Body: content[9:],
			WantCode: 416, WantHeader: uploadHeader("0-7"), WantError: "RANGE_INVALID",
		},
		{
			Name: "close backwards", Method: "PUT", URL: "{upload}?digest=" + d, Header: contentRange("9-8"), Body: content[9:],
			WantCode: 416, WantHeader: uploadHeader("0-7"), WantError: "RANGE_INVALID",
		},
		{
			Name: "close without a digest", Method: "PUT", URL: "{upload}", Body: content[8:],
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "close with a bad digest", Method: "PUT", URL: "{upload}?digest=sha256:bad", Body: content[8:],
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "close with two digests", Method: "PUT", URL: "{upload}?digest=" + d + "&digest=" + d, Body: content[8:],
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "the digest in a form", Method: "PUT", URL: "{upload}", Header: header{"Content-Type": "application/x-www-form-urlencoded"}, Body: "digest=" + d,
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{Name: "it is all there still", Method: "GET", URL: "{upload}", WantCode: 204, WantHeader: uploadHeader("0-7")},
		{
			Name: "close", Method: "PUT", URL: "{upload}?digest=" + d, Header: contentRange("8-9"), Body: content[8:],
			WantCode: 201, WantHeader: blob,
		},
		{Name: "close again", Method: "PUT", URL: "{upload}?digest=" + d, Body: content[8:], WantCode: 201, WantHeader: blob},
		{Name: "the blob", Method: "GET", URL: "/v2/team/app/blobs/" + d, WantCode: 200, WantBody: content},
		{
			Name: "more after the end", Method: "PATCH", URL: "{upload}", Body: "x",
			WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN",
		},
		{Name: "status after the end", Method: "GET", URL: "{upload}", WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"},
	})
}

func TestSessions(t *testing.T) {
	s := newSite(t, Options{})
	const content = "content"
	d := sha256Of(content)
	s.openUpload("team/app")
	s.runCases([]exchangeCase{
		{
			Name: "another digest", Method: "PUT", URL: "{upload}?digest=" + sha256Of("x"), Body: content,
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{Name: "that ended it", Method: "GET", URL: "{upload}", WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"},
	})
	s.openUpload("team/app")
	_, id := s.savedUpload()
	s.runCases([]exchangeCase{
		{
			Name: "of another repository", Method: "PATCH", URL: "/v2/other/blobs/uploads/" + id, Body: content,
			WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN",
		},
		{
			Name: "cancel that of another", Method: "DELETE", URL: "/v2/other/blobs/uploads/" + id,
			WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN",
		},
		{Name: "cancel", Method: "DELETE", URL: "{upload}", WantCode: 204},
		{Name: "cancel again", Method: "DELETE", URL: "{upload}", WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"},
		{
			Name: "close what was cancelled", Method: "PUT", URL: "{upload}?digest=" + d, Body: content,
			WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN",
		},
	})
	s.openUpload("team/app")
	s.runCases([]exchangeCase{
		{
			Name: "all in the PUT", Method: "PUT", URL: "{upload}?digest=" + d, Body: content,
			WantCode: 201, WantHeader: header{"Location": "/v2/team/app/blobs/" + d},
		},
	})
	s.runCases([]exchangeCase{
		{Name: "for sha512", Method: "POST", URL: uploads + "?digest-algorithm=sha512", WantCode: 202, Save: "upload"},
		{Name: "its chunk", Method: "PATCH", URL: "{upload}", Body: content, WantCode: 202},
		{
			Name: "its end", Method: "PUT", URL: "{upload}?digest=" + sha512Of(content),
			WantCode: 201, WantHeader: header{"Docker-Content-Digest": sha512Of(content)},
		},
		{Name: "for md5", Method: "POST", URL: uploads + "?digest-algorithm=md5", WantCode: 400, WantError: "DIGEST_INVALID"},
		{Name: "for none", Method: "POST", URL: uploads + "?digest-algorithm=", WantCode: 202},
		{
			Name: "for two", Method: "POST", URL: uploads + "?digest-algorithm=sha256&digest-algorithm=sha512",
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "without the slash", Method: "POST", URL: "/v2/team/app/blobs/uploads",
			WantCode: 202, WantHeader: header{"Range": "0-0"},
		},
	})
}

func TestWholeBlobInPost(t *testing.T) {
	s := newSite(t, Options{})
	const content = "content"
	d := sha256Of(content)
	s.runCases([]exchangeCase{
		{
			Name: "whole", Method: "POST", URL: uploads + "?digest=" + d, Body: content,
			WantCode: 201, WantHeader: header{"Location": "/v2/team/app/blobs/" + d, "Docker-Content-Digest": d},
		},
		{Name: "again", Method: "POST", URL: uploads + "?digest=" + d, Body: content, WantCode: 201},
		{
			Name: "sha512, escaped", Method: "POST", URL: uploads + "?digest=" + strings.Replace(sha512Of(content), ":", "%3A", 1), Body: content,
			WantCode: 201, WantHeader: header{"Docker-Content-Digest": sha512Of(content)},
		},
		{
			Name: "with its range", Method: "POST", URL: uploads + "?digest=" + d, Header: contentRange("0-6"), Body: content,
			WantCode: 201,
		},
		{
			Name: "a part of it", Method: "POST", URL: uploads + "?digest=" + d, Header: contentRange("1-6"), Body: content[1:],
			WantCode: 416, WantError: "RANGE_INVALID",
		},
		{
			Name: "another digest", Method: "POST", URL: uploads + "?digest=" + sha256Of("x"), Body: content,
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "a bad digest", Method: "POST", URL: uploads + "?digest=sha256:bad", Body: content,
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "two digests", Method: "POST", URL: uploads + "?digest=" + d + "&digest=" + d, Body: content,
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "a malformed query", Method: "POST", URL: uploads + "?digest=" + d + ";x", Body: content,
			WantCode: 400, WantError: "UNSUPPORTED",
		},
	})
}

// hideSecretPolicy denies pulls from "secret/app".
type hideSecretPolicy struct{}

func (hideSecretPolicy) Decide(_ auth.Identity, _ netip.Addr, p auth.Permission, repo string) auth.Decision {
	return auth.Decision{Allowed: p != auth.Pull || repo != "secret/app"}
}

func (hideSecretPolicy) View(auth.Identity, netip.Addr) auth.View { return auth.View{} }

func (hideSecretPolicy) AllowsAnonymous() bool { return true }

func TestMount(t *testing.T) {
	s := newSite(t, Options{Policy: hideSecretPolicy{}})
	d := s.pushBlob("from/app", "content")
	hidden := s.pushBlob("secret/app", "hidden")
	post := func(name, query string, code int, want header) exchangeCase {
		return exchangeCase{Name: name, Method: "POST", URL: uploads + query, WantCode: code, WantHeader: want}
	}
	mounted := header{"Location": "/v2/team/app/blobs/" + d, "Docker-Content-Digest": d}
	opened := header{"Range": "0-0", "Docker-Content-Digest": absent}
	s.runCases([]exchangeCase{
		post("an unknown digest", "?mount="+sha256Of("x")+"&from=from/app", 202, opened),
		post("from where it is not", "?mount="+d+"&from=elsewhere", 202, opened),
		post("from where one may not", "?mount="+hidden+"&from=secret/app", 202, opened),
		post("from anywhere, where one may not", "?mount="+hidden, 202, opened),
		{Name: "it is not there", Method: "HEAD", URL: "/v2/team/app/blobs/" + d, WantCode: 404, WantError: "BLOB_UNKNOWN"},
		post("mount", "?mount="+d+"&from=from%2Fapp", 201, mounted),
		{Name: "it is there", Method: "GET", URL: "/v2/team/app/blobs/" + d, WantCode: 200, WantBody: "content"},
		{
			Name: "from anywhere", Method: "POST", URL: "/v2/third/blobs/uploads/?mount=" + d,
			WantCode: 201, WantHeader: header{"Location": "/v2/third/blobs/" + d},
		},
		{
			Name: "from nowhere", Method: "POST", URL: "/v2/fourth/blobs/uploads/?from=&mount=" + d,
			WantCode: 201, WantHeader: header{"Location": "/v2/fourth/blobs/" + d},
		},
		{
			Name: "two digests", Method: "POST", URL: uploads + "?mount=" + d + "&mount=" + d + "&from=from/app",
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "two repositories", Method: "POST", URL: uploads + "?mount=" + d + "&from=a&from=b",
			WantCode: 400, WantError: "NAME_INVALID",
		},
		{
			Name: "failing, with the blob", Method: "POST", URL: uploads + "?mount=" + hidden + "&from=secret/app&digest=" + sha256Of("new"), Body: "new",
			WantCode: 201, WantHeader: header{"Docker-Content-Digest": sha256Of("new")},
		},
		{Name: "failing, of sha512", Method: "POST", URL: uploads + "?mount=" + sha512Of("new"), WantCode: 202, Save: "upload"},
		{Name: "and its end", Method: "PUT", URL: "{upload}?digest=" + sha512Of("new"), Body: "new", WantCode: 201},
	})
}

// TestMountOfNoUse mounts with arguments that cannot be used, although the source has the blob. The
// client uploads the blob instead.
func TestMountOfNoUse(t *testing.T) {
	s := newSite(t, Options{})
	d := s.pushBlob("from/app", "content")
	for name, query := range map[string]string{
		"a tag in the name":          "mount=" + d + "&from=from/app:1",
		"upper case":                 "mount=" + d + "&from=From/App",
		"a host in the name":         "mount=" + d + "&from=localhost:5000/from/app",
		"a path":                     "mount=" + d + "&from=../from/app",
		"a long name":                "mount=" + d + "&from=" + strings.Repeat("a/", 127) + "bc",
		"a short digest":             "mount=sha256:bad&from=from/app",
		"no digest":                  "mount=content&from=from/app",
		"a digest of another kind":   "mount=md5:9a0364b9e99bb480dd25e1f0284c8555&from=from/app",
		"an upper-case digest":       "mount=" + strings.ToUpper(d) + "&from=from/app",
		"nothing":                    "mount=&from=",
		"nothing from a repository":  "mount=&from=from/app",
		"only a repository":          "from=from/app",
		"only a repository, bad":     "from=From",
		"both bad":                   "mount=x&from=X",
		"a bad name, with a digest":  "mount=" + d + "&from=X&digest=" + d,
		"a bad digest, with another": "mount=x&digest=" + d,
	} {
		s.runCases([]exchangeCase{
			{
				Name: name, Method: "POST", URL: uploads + "?" + query, WantCode: 202, Save: "upload",
				WantHeader: header{"Range": "0-0", "Docker-Content-Digest": absent},
			},
			{Name: name + ", mounted", Method: "HEAD", URL: "/v2/team/app/blobs/" + d, WantCode: 404},
			{Name: name + ", uploaded", Method: "PUT", URL: "{upload}?digest=" + d, Body: "content", WantCode: 201},
			{Name: name + ", removed", Method: "DELETE", URL: "/v2/team/app/blobs/" + d, WantCode: 202},
		})
	}
	s.exchange(exchangeCase{
		Name: "with the blob", Method: "POST", URL: uploads + "?mount=x&from=X&digest=" + d, Body: "content",
		WantCode: 201, WantHeader: header{"Docker-Content-Digest": d},
	})
}

// TestAnnouncedDigest opens sessions with the digest that will close them. Only the empty blob is
// whole in a request without a body.
func TestAnnouncedDigest(t *testing.T) {
	registry := &algorithmRecorder{Registry: newRegistry(t, "mem://", storage.Options{})}
	s := serveRegistry(t, registry, Options{})
	s.pushBlob("from/app", "other")
	const content = "content"
	for _, c := range []struct {
		query, want string
		opened      digest.Algorithm
	}{
		{"digest=" + sha256Of(content), sha256Of(content), digest.SHA256},
		{"digest=" + sha512Of(content), sha512Of(content), digest.SHA512},
		{"digest=" + sha512Of(content) + "&mount=" + sha256Of(content) + "&from=from/app", sha512Of(content), digest.SHA512},
		{"digest=" + sha512Of(content) + "&digest-algorithm=", sha512Of(content), digest.SHA512},
		{"digest=" + sha256Of(content) + "&digest-algorithm=sha512", sha512Of(content), digest.SHA512},
		{"digest=&digest-algorithm=sha512", sha512Of(content), digest.SHA512},
		{"digest=&mount=" + sha512Of(content), sha512Of(content), digest.SHA512},
		{"mount=" + sha512Of(content) + "&from=X", sha512Of(content), digest.SHA512},
		{"digest=", sha256Of(content), ""},
	} {
		s.runCases([]exchangeCase{
			{
				Name: "open", Method: "POST", URL: uploads + "?" + c.query, WantCode: 202, Save: "upload",
				WantHeader: header{"Range": "0-0", "Content-Length": "0", "Docker-Content-Digest": absent},
			},
			{Name: "close", Method: "PUT", URL: "{upload}?digest=" + c.want, Body: content, WantCode: 201},
			{Name: "remove", Method: "DELETE", URL: "/v2/team/app/blobs/" + c.want, WantCode: 202},
		})
		if registry.opened != c.opened {
			t.Errorf("%s: the session is of %q, want %q", c.query, registry.opened, c.opened)
		}
	}
	for _, d := range []string{sha256Of(""), sha512Of("")} {
		s.exchange(exchangeCase{
			Name: "the empty blob", Method: "POST", URL: uploads + "?digest=" + d,
			WantCode: 201, WantHeader: header{"Docker-Content-Digest": d},
		})
	}
	s.runCases([]exchangeCase{
		{Name: "a bad digest", Method: "POST", URL: uploads + "?digest=sha256:bad", WantCode: 400, WantError: "DIGEST_INVALID"},
		{Name: "two digests", Method: "POST", URL: uploads + "?digest=&digest=", WantCode: 400, WantError: "DIGEST_INVALID"},
	})
	const chunked = "POST " + uploads + "?digest=%s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
	resp, body := s.sendRaw(fmt.Sprintf(chunked, sha256Of(content)), "POST")
	s.check(exchangeCase{Name: "a body that is empty", Method: "POST", URL: uploads, WantCode: 400, WantError: "DIGEST_INVALID"}, resp, body)
}

// algorithmRecorder is a registry that records the algorithm of the last session.
type algorithmRecorder struct {
	Registry
	opened digest.Algorithm
}

func (r *algorithmRecorder) CreateUpload(ctx context.Context, c storage.Caller, repo string, a digest.Algorithm) (storage.Upload, error) {
	r.opened = a
	return r.Registry.CreateUpload(ctx, c, repo, a)
}

// TestExpect has clients that send Expect: 100-continue.
func TestExpect(t *testing.T) {
	s := newSite(t, Options{})
	s.openUpload("team/app")
	url, _ := s.savedUpload()
	line := func(url string) string {
		return "PATCH " + url + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
	}
	conn := s.dial(line(url))
	buf := make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n"))
	for n := 0; n < len(buf); {
		m, err := conn.Read(buf[n:])
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if !strings.HasPrefix(string(buf), "HTTP/1.1 100 ") {
		t.Fatalf("a client that asks is told %q", buf)
	}
	fmt.Fprint(conn, "content")
	resp, body := s.readAnswer(conn, "PATCH")
	s.check(exchangeCase{Name: "told to go on", Method: "PATCH", URL: url, WantCode: 202, WantHeader: uploadHeader("0-6")}, resp, body)

	// A refused request gets its error without 100 Continue.
	resp, body = s.sendRaw(line(uploads+"none"), "PATCH")
	s.check(exchangeCase{Name: "refused", Method: "PATCH", URL: uploads, WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"}, resp, body)
}

// TestErrorBeforeBody sends bodies to requests that fail before the body is read. A client that
// sends everything before it reads still gets the answer. The connection is used again if the rest
// of the body is small.
func TestErrorBeforeBody(t *testing.T) {
	s := newSite(t, Options{})
	for _, size := range []int{1, 300_000, 7 << 20} {
		head := fmt.Sprintf("PATCH %snone HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", uploads, size)
		conn := s.dial(head + strings.Repeat("x", size))
		resp, body := s.readAnswer(conn, "PATCH")
		s.check(exchangeCase{Name: "refused", Method: "PATCH", URL: uploads, WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"}, resp, body)
		fmt.Fprint(conn, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, body = s.readAnswer(conn, http.MethodGet)
		s.check(exchangeCase{Name: "the next request", Method: "GET", URL: "/v2/", WantCode: 200}, resp, body)
	}
}
