package api

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/berth-registry/berth/auth"
)

const uploads = "/v2/team/app/blobs/uploads/"

// session finds where the last POST's session is.
func (s *site) session() (url, id string) {
	url = s.saved["upload"]
	return url, url[strings.LastIndexByte(url, '/')+1:]
}

// open starts a session, saved as "upload".
func (s *site) open(repo string) {
	s.t.Helper()
	resp, _ := s.exchange(exchangeCase{
		Name: "open", Method: "POST", URL: "/v2/" + repo + "/blobs/uploads/", WantCode: 202, Save: "upload",
		WantHeader: header{"Range": "0-0", "Content-Length": "0"},
	})
	url, id := s.session()
	if !strings.HasPrefix(url, "/v2/"+repo+"/blobs/uploads/") || id == "" || resp.Header.Get("Docker-Upload-UUID") != id {
		s.t.Errorf("a session is at %q with id %q", url, resp.Header.Get("Docker-Upload-UUID"))
	}
	s.saved["id"] = id
}

func at(r string) header {
	return header{"Location": "{upload}", "Docker-Upload-Uuid": "{id}", "Range": r}
}

func rng(r string) header { return header{"Content-Range": r} }

func TestChunks(t *testing.T) {
	s := newSite(t, Options{})
	s.open("team/app")
	const content = "0123456789"
	d := sha256Of(content)
	blob := header{"Location": "/v2/team/app/blobs/" + d, "Docker-Content-Digest": d, "Content-Length": "0"}
	s.run([]exchangeCase{
		{"status of nothing", "GET", "{upload}", nil, "", 204, at("0-0"), "", "", "", ""},
		{"with a range", "PATCH", "{upload}", rng("0-3"), content[:4], 202, at("0-3"), "", "", "", ""},
		{"status", "GET", "{upload}", nil, "", 204, at("0-3"), "", "", "", ""},
		{"again", "PATCH", "{upload}", rng("0-3"), content[:4], 416, at("0-3"), "", "RANGE_INVALID", "", ""},
		{"too far", "PATCH", "{upload}", rng("5-6"), content[5:7], 416, at("0-3"), "", "RANGE_INVALID", "", ""},
		{"backwards", "PATCH", "{upload}", rng("6-5"), content[5:7], 416, at("0-3"), "", "RANGE_INVALID", "", ""},
		{"longer than the range", "PATCH", "{upload}", rng("4-5"), content[4:7], 400, nil, "", "SIZE_INVALID", "", ""},
		{"shorter than the range", "PATCH", "{upload}", rng("4-9"), content[4:7], 400, nil, "", "SIZE_INVALID", "", ""},
		{"a range and no bytes", "PATCH", "{upload}", rng("4-4"), "", 400, nil, "", "SIZE_INVALID", "", ""},
		{"no range", "PATCH", "{upload}", rng("4"), content[4:5], 400, nil, "", "BLOB_UPLOAD_INVALID", "", ""},
		{"a negative range", "PATCH", "{upload}", rng("-4-5"), content[4:6], 400, nil, "", "BLOB_UPLOAD_INVALID", "", ""},
		{"a huge range", "PATCH", "{upload}", rng("4-99999999999999999999"), content[4:6], 400, nil, "", "BLOB_UPLOAD_INVALID", "", ""},
		{"two ranges", "PATCH", "{upload}", rng("4-4\n5-5"), content[4:5], 400, nil, "", "BLOB_UPLOAD_INVALID", "", ""},
		{"nothing", "PATCH", "{upload}", nil, "", 202, at("0-3"), "", "", "", ""},
		{"without a range", "PATCH", "{upload}", nil, content[4:5], 202, at("0-4"), "", "", "", ""},
		{"as HTTP has it", "PATCH", "{upload}", rng("bytes 5-6/*"), content[5:7], 202, at("0-6"), "", "", "", ""},
		{"as HTTP has it, of a length", "PATCH", "{upload}", rng("bytes=7-7/10"), content[7:8], 202, at("0-7"), "", "", "", ""},
		{"close at the wrong place", "PUT", "{upload}?digest=" + d, rng("9-9"), content[9:], 416, at("0-7"), "", "RANGE_INVALID", "", ""},
		{"close backwards", "PUT", "{upload}?digest=" + d, rng("9-8"), content[9:], 416, at("0-7"), "", "RANGE_INVALID", "", ""},
		{"close without a digest", "PUT", "{upload}", nil, content[8:], 400, nil, "", "DIGEST_INVALID", "", ""},
		{"close with a bad digest", "PUT", "{upload}?digest=sha256:bad", nil, content[8:], 400, nil, "", "DIGEST_INVALID", "", ""},
		{"close with two digests", "PUT", "{upload}?digest=" + d + "&digest=" + d, nil, content[8:], 400, nil, "", "DIGEST_INVALID", "", ""},
		{"the digest in a form", "PUT", "{upload}", header{"Content-Type": "application/x-www-form-urlencoded"}, "digest=" + d, 400, nil, "", "DIGEST_INVALID", "", ""},
		{"it is all there still", "GET", "{upload}", nil, "", 204, at("0-7"), "", "", "", ""},
		{"close", "PUT", "{upload}?digest=" + d, rng("8-9"), content[8:], 201, blob, "", "", "", ""},
		{"close again", "PUT", "{upload}?digest=" + d, nil, content[8:], 201, blob, "", "", "", ""},
		{"the blob", "GET", "/v2/team/app/blobs/" + d, nil, "", 200, nil, content, "", "", ""},
		{"more after the end", "PATCH", "{upload}", nil, "x", 404, nil, "", "BLOB_UPLOAD_UNKNOWN", "", ""},
		{"status after the end", "GET", "{upload}", nil, "", 404, nil, "", "BLOB_UPLOAD_UNKNOWN", "", ""},
	})
}

func TestSessions(t *testing.T) {
	s := newSite(t, Options{})
	const content = "content"
	d := sha256Of(content)
	s.open("team/app")
	s.run([]exchangeCase{
		{"another digest", "PUT", "{upload}?digest=" + sha256Of("x"), nil, content, 400, nil, "", "DIGEST_INVALID", "", ""},
		{"that ended it", "GET", "{upload}", nil, "", 404, nil, "", "BLOB_UPLOAD_UNKNOWN", "", ""},
	})
	s.open("team/app")
	_, id := s.session()
	s.run([]exchangeCase{
		{"of another repository", "PATCH", "/v2/other/blobs/uploads/" + id, nil, content, 404, nil, "", "BLOB_UPLOAD_UNKNOWN", "", ""},
		{"cancel that of another", "DELETE", "/v2/other/blobs/uploads/" + id, nil, "", 404, nil, "", "BLOB_UPLOAD_UNKNOWN", "", ""},
		{"cancel", "DELETE", "{upload}", nil, "", 204, nil, "", "", "", ""},
		{"cancel again", "DELETE", "{upload}", nil, "", 404, nil, "", "BLOB_UPLOAD_UNKNOWN", "", ""},
		{"close what was cancelled", "PUT", "{upload}?digest=" + d, nil, content, 404, nil, "", "BLOB_UPLOAD_UNKNOWN", "", ""},
	})
	s.open("team/app")
	s.run([]exchangeCase{
		{"all in the PUT", "PUT", "{upload}?digest=" + d, nil, content, 201, header{"Location": "/v2/team/app/blobs/" + d}, "", "", "", ""},
	})
	s.run([]exchangeCase{
		{"for sha512", "POST", uploads + "?digest-algorithm=sha512", nil, "", 202, nil, "", "", "", "upload"},
		{"its chunk", "PATCH", "{upload}", nil, content, 202, nil, "", "", "", ""},
		{"its end", "PUT", "{upload}?digest=" + sha512Of(content), nil, "", 201, header{"Docker-Content-Digest": sha512Of(content)}, "", "", "", ""},
		{"for md5", "POST", uploads + "?digest-algorithm=md5", nil, "", 400, nil, "", "DIGEST_INVALID", "", ""},
		{"for none", "POST", uploads + "?digest-algorithm=", nil, "", 400, nil, "", "DIGEST_INVALID", "", ""},
		{"for two", "POST", uploads + "?digest-algorithm=sha256&digest-algorithm=sha512", nil, "", 400, nil, "", "DIGEST_INVALID", "", ""},
		{"without the slash", "POST", "/v2/team/app/blobs/uploads", nil, "", 202, header{"Range": "0-0"}, "", "", "", ""},
	})
}

func TestWholeBlobInPost(t *testing.T) {
	s := newSite(t, Options{})
	const content = "content"
	d := sha256Of(content)
	s.run([]exchangeCase{
		{"whole", "POST", uploads + "?digest=" + d, nil, content, 201, header{"Location": "/v2/team/app/blobs/" + d, "Docker-Content-Digest": d}, "", "", "", ""},
		{"again", "POST", uploads + "?digest=" + d, nil, content, 201, nil, "", "", "", ""},
		{"sha512, escaped", "POST", uploads + "?digest=" + strings.Replace(sha512Of(content), ":", "%3A", 1), nil, content, 201, header{"Docker-Content-Digest": sha512Of(content)}, "", "", "", ""},
		{"with its range", "POST", uploads + "?digest=" + d, rng("0-6"), content, 201, nil, "", "", "", ""},
		{"a part of it", "POST", uploads + "?digest=" + d, rng("1-6"), content[1:], 416, nil, "", "RANGE_INVALID", "", ""},
		{"another digest", "POST", uploads + "?digest=" + sha256Of("x"), nil, content, 400, nil, "", "DIGEST_INVALID", "", ""},
		{"a bad digest", "POST", uploads + "?digest=sha256:bad", nil, content, 400, nil, "", "DIGEST_INVALID", "", ""},
		{"no digest", "POST", uploads + "?digest=", nil, content, 400, nil, "", "DIGEST_INVALID", "", ""},
		{"two digests", "POST", uploads + "?digest=" + d + "&digest=" + d, nil, content, 400, nil, "", "DIGEST_INVALID", "", ""},
		{"a malformed query", "POST", uploads + "?digest=" + d + ";x", nil, content, 400, nil, "", "UNSUPPORTED", "", ""},
	})
}

// secretive is a policy that lets nobody pull from "secret/app".
type secretive struct{}

func (secretive) Decide(_ auth.Identity, _ netip.Addr, p auth.Permission, repo string) auth.Decision {
	return auth.Decision{Allowed: p != auth.Pull || repo != "secret/app"}
}

func (secretive) View(auth.Identity, netip.Addr) auth.View { return auth.View{} }

func (secretive) AllowsAnonymous() bool { return true }

func TestMount(t *testing.T) {
	s := newSite(t, Options{Policy: secretive{}})
	d := s.pushBlob("from/app", "content")
	hidden := s.pushBlob("secret/app", "hidden")
	post := func(name, query string, code int, want header) exchangeCase {
		return exchangeCase{Name: name, Method: "POST", URL: uploads + query, WantCode: code, WantHeader: want}
	}
	bad := func(name, query, code string) exchangeCase {
		return exchangeCase{Name: name, Method: "POST", URL: uploads + query, WantCode: 400, WantError: code}
	}
	mounted := header{"Location": "/v2/team/app/blobs/" + d, "Docker-Content-Digest": d}
	opened := header{"Range": "0-0", "Docker-Content-Digest": absent}
	s.run([]exchangeCase{
		post("an unknown digest", "?mount="+sha256Of("x")+"&from=from/app", 202, opened),
		post("from where it is not", "?mount="+d+"&from=elsewhere", 202, opened),
		post("from where one may not", "?mount="+hidden+"&from=secret/app", 202, opened),
		post("from anywhere, where one may not", "?mount="+hidden, 202, opened),
		{"it is not there", "HEAD", "/v2/team/app/blobs/" + d, nil, "", 404, nil, "", "BLOB_UNKNOWN", "", ""},
		post("mount", "?mount="+d+"&from=from%2Fapp", 201, mounted),
		{"it is there", "GET", "/v2/team/app/blobs/" + d, nil, "", 200, nil, "content", "", "", ""},
		{"from anywhere", "POST", "/v2/third/blobs/uploads/?mount=" + d, nil, "", 201, header{"Location": "/v2/third/blobs/" + d}, "", "", "", ""},
		{"from nowhere", "POST", "/v2/fourth/blobs/uploads/?from=&mount=" + d, nil, "", 201, header{"Location": "/v2/fourth/blobs/" + d}, "", "", "", ""},
		bad("a bad digest", "?mount=sha256:bad&from=from/app", "DIGEST_INVALID"),
		bad("two digests", "?mount="+d+"&mount="+d+"&from=from/app", "DIGEST_INVALID"),
		bad("two repositories", "?mount="+d+"&from=a&from=b", "NAME_INVALID"),
		bad("a bad repository", "?mount="+d+"&from=../b", "NAME_INVALID"),
		bad("a bad repository, upper case", "?mount="+d+"&from=B", "NAME_INVALID"),
		{"failing, with the blob", "POST", uploads + "?mount=" + hidden + "&from=secret/app&digest=" + sha256Of("new"), nil, "new", 201, header{"Docker-Content-Digest": sha256Of("new")}, "", "", "", ""},
		{"failing, of sha512", "POST", uploads + "?mount=" + sha512Of("new"), nil, "", 202, nil, "", "", "", "upload"},
		{"and its end", "PUT", "{upload}?digest=" + sha512Of("new"), nil, "new", 201, nil, "", "", "", ""},
	})
}

// TestExpect has clients that ask before they send a body.
func TestExpect(t *testing.T) {
	s := newSite(t, Options{})
	s.open("team/app")
	url, _ := s.session()
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
	resp, body := s.answerOn(conn, "PATCH")
	s.check(exchangeCase{Name: "told to go on", Method: "PATCH", URL: url, WantCode: 202, WantHeader: at("0-6")}, resp, body)

	// Refused, it is told so without having been told to go on.
	resp, body = s.raw(line(uploads+"none"), "PATCH")
	s.check(exchangeCase{Name: "refused", Method: "PATCH", URL: uploads, WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"}, resp, body)
}

// TestErrorBeforeBody sends bodies to what refuses them unread. The client,
// which sends all before it reads, gets its answer, and goes on with the
// connection where the rest of the body is small.
func TestErrorBeforeBody(t *testing.T) {
	s := newSite(t, Options{})
	for _, size := range []int{1, 300_000, 7 << 20} {
		head := fmt.Sprintf("PATCH %snone HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", uploads, size)
		conn := s.dial(head + strings.Repeat("x", size))
		resp, body := s.answerOn(conn, "PATCH")
		s.check(exchangeCase{Name: "refused", Method: "PATCH", URL: uploads, WantCode: 404, WantError: "BLOB_UPLOAD_UNKNOWN"}, resp, body)
		fmt.Fprint(conn, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
		resp, body = s.answerOn(conn, http.MethodGet)
		s.check(exchangeCase{Name: "the next request", Method: "GET", URL: "/v2/", WantCode: 200}, resp, body)
	}
}
