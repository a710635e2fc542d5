package api

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/storage"
)

func TestManifest(t *testing.T) {
	s := newSite(t, Options{})
	payload, d := s.pushImage("team/app", "v1", `,"annotations":{"a":"b"}`)
	sent := header{
		"Content-Type": imageType, "Content-Length": strconv.Itoa(len(payload)),
		"Docker-Content-Digest": d, "Etag": `"` + d + `"`, "Location": absent,
	}
	same := header{"Docker-Content-Digest": d, "Etag": `"` + d + `"`}
	const tagURL, m = "/v2/team/app/manifests/v1", "/v2/team/app/manifests/"
	s.run([]exchangeCase{
		{"by tag", "GET", tagURL, nil, "", 200, sent, payload, "", "", ""},
		{"by digest", "GET", m + d, nil, "", 200, sent, payload, "", "", ""},
		{"head by tag", "HEAD", tagURL, nil, "", 200, sent, "", "", "", ""},
		{"head by digest", "HEAD", m + d, nil, "", 200, sent, "", "", "", ""},
		{"accept nothing like it", "GET", tagURL, header{"Accept": "text/html"}, "", 200, sent, payload, "", "", ""},
		{"not modified", "GET", tagURL, header{"If-None-Match": `"` + d + `"`}, "", 304, same, "", "", "", ""},
		{"not modified, head", "HEAD", tagURL, header{"If-None-Match": `"` + d + `"`}, "", 304, same, "", "", "", ""},
		{"not modified, weak, one of several", "GET", tagURL, header{"If-None-Match": `"x", W/"` + d + `"`}, "", 304, same, "", "", "", ""},
		{"not modified, any", "GET", tagURL, header{"If-None-Match": "*"}, "", 304, same, "", "", "", ""},
		{"not modified, without quotes", "GET", tagURL, header{"If-None-Match": d}, "", 304, same, "", "", "", ""},
		{"modified", "GET", tagURL, header{"If-None-Match": `"sha256:00"`}, "", 200, sent, payload, "", "", ""},
		{"no such tag", "GET", m + "v2", nil, "", 404, header{"Etag": absent}, "", "MANIFEST_UNKNOWN", "", ""},
		{"no such digest", "GET", m + sha256Of("x"), nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"no such tag, head", "HEAD", m + "v2", nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"no such repository", "GET", "/v2/none/manifests/v1", nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"a manifest is no blob", "GET", "/v2/team/app/blobs/" + d, nil, "", 404, nil, "", "BLOB_UNKNOWN", "", ""},
	})
}

func TestPutManifest(t *testing.T) {
	s := newSite(t, Options{MaxManifest: 4096})
	payload, d := s.pushImage("team/app", "v1", "")
	const m = "/v2/team/app/manifests/"
	typed := header{"Content-Type": imageType}
	done := header{"Location": m + d, "Docker-Content-Digest": d, "Content-Length": "0", "Oci-Subject": absent, "Oci-Tag": absent}
	missing := image("{}", "not there", "")
	subject := sha256Of("some manifest")
	referrer := image("{}", "layer", fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":7}`, imageType, subject))
	large := image("{}", "layer", `,"annotations":{"a":"`+strings.Repeat("x", 4096)+`"}`)
	full := image("{}", "layer", `,"annotations":{"a":"`)
	full += strings.Repeat("x", 4096-len(full)-len(`"}}`)) + `"}}`
	s.run([]exchangeCase{
		{"by tag", "PUT", m + "v2", typed, payload, 201, done, "", "", "", ""},
		{"by digest", "PUT", m + d, typed, payload, 201, done, "", "", "", ""},
		{"by digest, escaped", "PUT", m + strings.Replace(d, ":", "%3A", 1), typed, payload, 201, done, "", "", "", ""},
		{"with parameters of the type", "PUT", m + "v2", header{"Content-Type": imageType + "; charset=utf-8"}, payload, 201, done, "", "", "", ""},
		{"without a type", "PUT", m + "v2", nil, payload, 201, done, "", "", "", ""},
		{"by digest with tags", "PUT", m + d + "?tag=a&tag=b&tag=a", typed, payload, 201, header{"Oci-Tag": "a\nb", "Location": m + d}, "", "", "", ""},
		{"tag a is there", "HEAD", m + "a", nil, "", 200, header{"Docker-Content-Digest": d}, "", "", "", ""},
		{"tag b is there", "HEAD", m + "b", nil, "", 200, header{"Docker-Content-Digest": d}, "", "", "", ""},
		{"with a bad tag none is set", "PUT", m + d + "?tag=c&tag=-bad", typed, payload, 400, header{"Oci-Tag": absent}, "", "TAG_INVALID", "", ""},
		{"tag c is not there", "HEAD", m + "c", nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"with a subject", "PUT", m + "sub", typed, referrer, 201, header{"Oci-Subject": subject}, "", "", "", ""},

		{"a bad tag", "PUT", m + ".bad", typed, payload, 400, nil, "", "TAG_INVALID", "", ""},
		{"a tag of 129 characters", "PUT", m + strings.Repeat("x", 129), typed, payload, 400, nil, "", "TAG_INVALID", "", ""},
		{"a bad digest", "PUT", m + "sha256:bad", typed, payload, 400, nil, "", "DIGEST_INVALID", "", ""},
		{"another digest", "PUT", m + sha256Of("x"), typed, payload, 400, nil, "", "DIGEST_INVALID", "", ""},
		{"no manifest", "PUT", m + "v3", typed, "hello", 400, nil, "", "MANIFEST_INVALID", "", ""},
		{"no body", "PUT", m + "v3", typed, "", 400, nil, "", "MANIFEST_INVALID", "", ""},
		{"another type", "PUT", m + "v3", header{"Content-Type": indexType}, payload, 400, nil, "", "MANIFEST_INVALID", "", ""},
		{"an unreadable envelope", "PUT", m + "v3", header{"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, `{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"history":[],"signatures":[{"protected":"!"}]}`, 400, nil, "", "MANIFEST_UNVERIFIED", "", ""},
		{"a blob that is not there", "PUT", m + "v3", typed, missing, 400, nil, "", "MANIFEST_BLOB_UNKNOWN", sha256Of("not there"), ""},
		{"a malformed query", "PUT", m + d + "?tag=%zz", typed, payload, 400, nil, "", "UNSUPPORTED", "", ""},
		{"as large as may be", "PUT", m + "full", typed, full, 201, nil, "", "", "", ""},
		{"larger", "PUT", m + "v3", typed, full + " ", 413, nil, "", "MANIFEST_INVALID", "", ""},
		{"much larger", "PUT", m + "v3", typed, large + strings.Repeat(" ", 4<<20), 413, nil, "", "MANIFEST_INVALID", "", ""},
	})
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(large), large)
	resp, body := s.raw("PUT "+m+"v3 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"+chunk+"0\r\n\r\n", "PUT")
	s.check(exchangeCase{Name: "larger, of unsaid length", Method: "PUT", URL: m, WantCode: 413, WantError: "MANIFEST_INVALID"}, resp, body)
	chunk = fmt.Sprintf("%x\r\n%s\r\n", len(payload), payload)
	resp, body = s.raw("PUT "+m+"v4 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"+chunk+"0\r\n\r\n", "PUT")
	s.check(exchangeCase{Name: "of unsaid length", Method: "PUT", URL: m, WantCode: 201, WantHeader: done}, resp, body)
	s.checkBudgets()
}

// checkBudgets makes sure that requests gave back the memory that they had.
func (s *site) checkBudgets() {
	s.t.Helper()
	for name, b := range map[string]*budget{"heads": s.heads, "received": s.received, "answers": s.answers, "parsing": s.parsing} {
		b.mu.Lock()
		users := len(b.shares)
		b.mu.Unlock()
		if !b.free.TryAcquire(b.all) || users > 0 {
			s.t.Errorf("memory for %s is still reserved after the requests", name)
		}
	}
}

func TestConditions(t *testing.T) {
	s := newSite(t, Options{})
	one, d1 := s.pushImage("team/app", "v1", "")
	two := image("{}", "layer", `,"annotations":{"n":"2"}`)
	d2 := sha256Of(two)
	const m = "/v2/team/app/manifests/"
	quoted := func(ds ...string) string { return `"` + strings.Join(ds, `", "`) + `"` }
	put := func(name, tag, body string, h header, code int) exchangeCase {
		c := exchangeCase{Name: name, Method: "PUT", URL: m + tag, Header: header{"Content-Type": imageType}, Body: body, WantCode: code}
		for k, v := range h {
			c.Header[k] = v
		}
		switch code {
		case 412:
			c.WantError = "DENIED"
		case 400:
			c.WantError = "UNSUPPORTED"
		}
		return c
	}
	is := func(tag, d string) exchangeCase {
		return exchangeCase{Name: "it is", Method: "HEAD", URL: m + tag, WantCode: 200, WantHeader: header{"Docker-Content-Digest": d}}
	}
	s.run([]exchangeCase{
		put("create what exists", "v1", two, header{"If-None-Match": "*"}, 412), is("v1", d1),
		put("create", "v2", two, header{"If-None-Match": "*"}, 201), is("v2", d2),
		put("replace another", "v1", two, header{"If-Match": quoted(d2)}, 412), is("v1", d1),
		put("replace a weak one", "v1", two, header{"If-Match": "W/" + quoted(d1)}, 412), is("v1", d1),
		put("replace nothing", "v1", two, header{"If-Match": ""}, 412), is("v1", d1),
		put("replace nonsense", "v1", two, header{"If-Match": `"nonsense"`}, 412), is("v1", d1),
		put("replace", "v1", two, header{"If-Match": quoted(d1)}, 201), is("v1", d2),
		put("replace one of", "v1", one, header{"If-Match": quoted("x", d2, d1)}, 201), is("v1", d1),
		put("replace one of, in two fields", "v1", two, header{"If-Match": quoted("x") + "\n" + quoted(d1)}, 201), is("v1", d2),
		put("replace what does not exist", "v3", two, header{"If-Match": quoted(d1)}, 412),
		put("replace anything that does not exist", "v3", two, header{"If-Match": "*"}, 412),
		put("replace anything", "v1", one, header{"If-Match": "*"}, 201), is("v1", d1),
		put("an If-None-Match that is not for writes", "v1", one, header{"If-None-Match": quoted(d1)}, 400),
		{"delete another", "DELETE", m + "v1", header{"If-Match": quoted(d2)}, "", 412, nil, "", "DENIED", "", ""}, is("v1", d1),
		{"delete", "DELETE", m + "v1", header{"If-Match": quoted(d1)}, "", 202, nil, "", "", "", ""},
		{"it is gone", "HEAD", m + "v1", nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"delete by digest another", "DELETE", m + d1, header{"If-Match": quoted(d2)}, "", 412, nil, "", "DENIED", "", ""},
		{"delete by digest what must not be", "DELETE", m + d1, header{"If-None-Match": "*"}, "", 412, nil, "", "DENIED", "", ""},
		{"delete by digest", "DELETE", m + d1, header{"If-Match": quoted(d1)}, "", 202, nil, "", "", "", ""},
	})
}

func TestDeleteManifest(t *testing.T) {
	s := newSite(t, Options{})
	_, d := s.pushImage("team/app", "v1", "")
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, indexType, imageType, d, len(image("{}", "layer", "")))
	const m = "/v2/team/app/manifests/"
	s.run([]exchangeCase{
		{"an index", "PUT", m + "all", header{"Content-Type": indexType}, index, 201, nil, "", "", "", ""},
		{"what an index lists", "DELETE", m + d, nil, "", 403, nil, "", "DENIED", "", ""},
		{"what a manifest names", "DELETE", "/v2/team/app/blobs/" + sha256Of("layer"), nil, "", 403, nil, "", "DENIED", "", ""},
		{"the tag", "DELETE", m + "v1", nil, "", 202, header{"Content-Length": "0"}, "", "", "", ""},
		{"the tag again", "DELETE", m + "v1", nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"a bad tag", "DELETE", m + ".bad", nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"it is still there", "HEAD", m + d, nil, "", 200, nil, "", "", "", ""},
		{"the index", "DELETE", m + sha256Of(index), nil, "", 202, nil, "", "", "", ""},
		{"its tag went with it", "HEAD", m + "all", nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"the manifest", "DELETE", m + d, nil, "", 202, nil, "", "", "", ""},
		{"the manifest again", "DELETE", m + d, nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"a bad digest", "DELETE", m + "sha256:bad", nil, "", 400, nil, "", "DIGEST_INVALID", "", ""},
		{"of no repository", "DELETE", "/v2/none/manifests/" + d, nil, "", 404, nil, "", "MANIFEST_UNKNOWN", "", ""},
		{"the blob", "DELETE", "/v2/team/app/blobs/" + sha256Of("layer"), nil, "", 202, header{"Content-Length": "0"}, "", "", "", ""},
		{"the blob again", "DELETE", "/v2/team/app/blobs/" + sha256Of("layer"), nil, "", 404, nil, "", "BLOB_UNKNOWN", "", ""},
	})
}

// TestManifestMemory takes all the memory for manifests: whoever needs some
// waits, and goes away with its client.
func TestManifestMemory(t *testing.T) {
	registry := newRegistry(t, "mem://", storage.Options{CacheBytes: 1 << 20})
	s := serveRegistry(t, registry, Options{ManifestMemory: 8 << 20})
	payload, d := s.pushImage("team/app", "v1", "")
	take := func(b *budget) (release func()) {
		if !b.free.TryAcquire(b.all) {
			t.Fatal("memory is reserved before the request")
		}
		return func() { b.free.Release(b.all) }
	}
	s.exchange(exchangeCase{Name: "the cache", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200})
	release := take(s.answers)
	s.exchange(exchangeCase{Name: "what the cache has needs none", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200})
	release()
	s = serveRegistry(t, uncached{registry}, Options{ManifestMemory: 8 << 20})
	release = take(s.answers)
	get := "GET /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	waiting := s.dial(get)
	left := s.dial(get)
	left.Close()
	s.log.await(`"route":"manifest"`, `"status":499`)
	s.run([]exchangeCase{{Name: "head needs none", Method: "HEAD", URL: "/v2/team/app/manifests/v1", WantCode: 200}})
	release()
	resp, body := s.answerOn(waiting, "GET")
	s.check(exchangeCase{Name: "after waiting", Method: "GET", URL: "/v2/", WantCode: 200, WantBody: payload, WantHeader: header{"Docker-Content-Digest": d}}, resp, body)
	// A push waits, with its body read, for those that are being parsed.
	release = take(s.parsing)
	waiting = s.dial(fmt.Sprintf("PUT /v2/team/app/manifests/v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		"application/vnd.oci.image.manifest.v1+json", len(payload), payload))
	s.run([]exchangeCase{{Name: "a pull needs none of that", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200}})
	s.run([]exchangeCase{{Name: "the push waits", Method: "HEAD", URL: "/v2/team/app/manifests/v2", WantCode: 404}})
	release()
	resp, body = s.answerOn(waiting, "PUT")
	s.check(exchangeCase{Name: "pushed after waiting", Method: "PUT", URL: "/v2/", WantCode: 201, WantHeader: header{"Docker-Content-Digest": d}}, resp, body)
	s.checkBudgets()
}

// uncached is a registry that has no payload in memory.
type uncached struct{ Registry }

func (uncached) CachedPayload(storage.Manifest) ([]byte, func(), bool) { return nil, nil, false }
