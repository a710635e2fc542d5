package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/berth-registry/berth/manifest"
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
	s.runCases([]exchangeCase{
		{Name: "by tag", Method: "GET", URL: tagURL, WantCode: 200, WantHeader: sent, WantBody: payload},
		{Name: "by digest", Method: "GET", URL: m + d, WantCode: 200, WantHeader: sent, WantBody: payload},
		{Name: "head by tag", Method: "HEAD", URL: tagURL, WantCode: 200, WantHeader: sent},
		{Name: "head by digest", Method: "HEAD", URL: m + d, WantCode: 200, WantHeader: sent},
		{
			Name: "accept nothing like it", Method: "GET", URL: tagURL, Header: header{"Accept": "text/html"},
			WantCode: 200, WantHeader: sent, WantBody: payload,
		},
		{
			Name: "not modified", Method: "GET", URL: tagURL, Header: header{"If-None-Match": `"` + d + `"`},
			WantCode: 304, WantHeader: same,
		},
		{
			Name: "not modified, head", Method: "HEAD", URL: tagURL, Header: header{"If-None-Match": `"` + d + `"`},
			WantCode: 304, WantHeader: same,
		},
		{
			Name: "not modified, weak, one of several", Method: "GET", URL: tagURL, Header: header{"If-None-Match": `"x", W/"` + d + `"`},
			WantCode: 304, WantHeader: same,
		},
		{
			Name: "not modified, any", Method: "GET", URL: tagURL, Header: header{"If-None-Match": "*"},
			WantCode: 304, WantHeader: same,
		},
		{
			Name: "not modified, without quotes", Method: "GET", URL: tagURL, Header: header{"If-None-Match": d},
			WantCode: 304, WantHeader: same,
		},
		{
			Name: "modified", Method: "GET", URL: tagURL, Header: header{"If-None-Match": `"sha256:00"`},
			WantCode: 200, WantHeader: sent, WantBody: payload,
		},
		{
			Name: "no such tag", Method: "GET", URL: m + "v2",
			WantCode: 404, WantHeader: header{"Etag": absent}, WantError: "MANIFEST_UNKNOWN",
		},
		{Name: "no such digest", Method: "GET", URL: m + sha256Of("x"), WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Name: "no such tag, head", Method: "HEAD", URL: m + "v2", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Name: "no such repository", Method: "GET", URL: "/v2/none/manifests/v1", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Name: "a manifest is no blob", Method: "GET", URL: "/v2/team/app/blobs/" + d, WantCode: 404, WantError: "BLOB_UNKNOWN"},
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
	s.runCases([]exchangeCase{
		{Name: "by tag", Method: "PUT", URL: m + "v2", Header: typed, Body: payload, WantCode: 201, WantHeader: done},
		{Name: "by digest", Method: "PUT", URL: m + d, Header: typed, Body: payload, WantCode: 201, WantHeader: done},
		{
			Name: "by digest, escaped", Method: "PUT", URL: m + strings.Replace(d, ":", "%3A", 1), Header: typed, Body: payload,
			WantCode: 201, WantHeader: done,
		},
		{
			Name: "with parameters of the type", Method: "PUT", URL: m + "v2", Header: header{"Content-Type": imageType + "; charset=utf-8"}, Body: payload,
			WantCode: 201, WantHeader: done,
		},
		{Name: "without a type", Method: "PUT", URL: m + "v2", Body: payload, WantCode: 201, WantHeader: done},
		{
			Name: "by digest with tags", Method: "PUT", URL: m + d + "?tag=a&tag=b&tag=a", Header: typed, Body: payload,
			WantCode: 201, WantHeader: header{"Oci-Tag": "a\nb", "Location": m + d},
		},
		{Name: "tag a is there", Method: "HEAD", URL: m + "a", WantCode: 200, WantHeader: header{"Docker-Content-Digest": d}},
		{Name: "tag b is there", Method: "HEAD", URL: m + "b", WantCode: 200, WantHeader: header{"Docker-Content-Digest": d}},
		{
			Name: "with a bad tag none is set", Method: "PUT", URL: m + d + "?tag=c&tag=-bad", Header: typed, Body: payload,
			WantCode: 400, WantHeader: header{"Oci-Tag": absent}, WantError: "TAG_INVALID",
		},
		{Name: "tag c is not there", Method: "HEAD", URL: m + "c", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{
			Name: "with a subject", Method: "PUT", URL: m + "sub", Header: typed, Body: referrer,
			WantCode: 201, WantHeader: header{"Oci-Subject": subject},
		},

		{
			Name: "a bad tag", Method: "PUT", URL: m + ".bad", Header: typed, Body: payload,
			WantCode: 400, WantError: "TAG_INVALID",
		},
		{
			Name: "a tag of 129 characters", Method: "PUT", URL: m + strings.Repeat("x", 129), Header: typed, Body: payload,
			WantCode: 400, WantError: "TAG_INVALID",
		},
		{
			Name: "a bad digest", Method: "PUT", URL: m + "sha256:bad", Header: typed, Body: payload,
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "another digest", Method: "PUT", URL: m + sha256Of("x"), Header: typed, Body: payload,
			WantCode: 400, WantError: "DIGEST_INVALID",
		},
		{
			Name: "no manifest", Method: "PUT", URL: m + "v3", Header: typed, Body: "hello",
			WantCode: 400, WantError: "MANIFEST_INVALID",
		},
		{Name: "no body", Method: "PUT", URL: m + "v3", Header: typed, WantCode: 400, WantError: "MANIFEST_INVALID"},
		{
			Name: "another type", Method: "PUT", URL: m + "v3", Header: header{"Content-Type": indexType}, Body: payload,
			WantCode: 400, WantError: "MANIFEST_INVALID",
		},
		{
			Name: "an unreadable envelope", Method: "PUT", URL: m + "v3", Header: header{"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, Body: `{"schemaVersion":1,"name":"a","tag":"b","fsLayers":[],"history":[],"signatures":[{"protected":"!"}]}`,
			WantCode: 400, WantError: "MANIFEST_UNVERIFIED",
		},
		{
			Name: "a blob that is not there", Method: "PUT", URL: m + "v3", Header: typed, Body: missing,
			WantCode: 400, WantError: "MANIFEST_BLOB_UNKNOWN", WantDetail: sha256Of("not there"),
		},
		{
			Name: "a malformed query", Method: "PUT", URL: m + d + "?tag=%zz", Header: typed, Body: payload,
			WantCode: 400, WantError: "UNSUPPORTED",
		},
		{Name: "as large as may be", Method: "PUT", URL: m + "full", Header: typed, Body: full, WantCode: 201},
		{
			Name: "larger", Method: "PUT", URL: m + "v3", Header: typed, Body: full + " ",
			WantCode: 413, WantError: "MANIFEST_INVALID",
		},
		{
			Name: "much larger", Method: "PUT", URL: m + "v3", Header: typed, Body: large + strings.Repeat(" ", 4<<20),
			WantCode: 413, WantError: "MANIFEST_INVALID",
		},
	})
	chunk := fmt.Sprintf("%x\r\n%s\r\n", len(large), large)
	resp, body := s.sendRaw("PUT "+m+"v3 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"+chunk+"0\r\n\r\n", "PUT")
	s.check(exchangeCase{Name: "larger, of unsaid length", Method: "PUT", URL: m, WantCode: 413, WantError: "MANIFEST_INVALID"}, resp, body)
	chunk = fmt.Sprintf("%x\r\n%s\r\n", len(payload), payload)
	resp, body = s.sendRaw("PUT "+m+"v4 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"+chunk+"0\r\n\r\n", "PUT")
	s.check(exchangeCase{Name: "of unsaid length", Method: "PUT", URL: m, WantCode: 201, WantHeader: done}, resp, body)
	s.checkBudgets()
}

// checkBudgets checks that all requests released their memory.
func (s *site) checkBudgets() {
	s.t.Helper()
	for name, b := range map[string]*budget{"heads": s.headBudget, "received": s.receiveBudget, "answers": s.sendBudget, "parsing": s.parseBudget} {
		b.mu.Lock()
		users := len(b.shares)
		b.mu.Unlock()
		if !b.free.TryAcquire(b.total) || users > 0 {
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
	s.runCases([]exchangeCase{
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
		{
			Name: "delete another", Method: "DELETE", URL: m + "v1", Header: header{"If-Match": quoted(d2)},
			WantCode: 412, WantError: "DENIED",
		}, is("v1", d1),
		{Name: "delete", Method: "DELETE", URL: m + "v1", Header: header{"If-Match": quoted(d1)}, WantCode: 202},
		{Name: "it is gone", Method: "HEAD", URL: m + "v1", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{
			Name: "delete by digest another", Method: "DELETE", URL: m + d1, Header: header{"If-Match": quoted(d2)},
			WantCode: 412, WantError: "DENIED",
		},
		{
			Name: "delete by digest what must not be", Method: "DELETE", URL: m + d1, Header: header{"If-None-Match": "*"},
			WantCode: 412, WantError: "DENIED",
		},
		{Name: "delete by digest", Method: "DELETE", URL: m + d1, Header: header{"If-Match": quoted(d1)}, WantCode: 202},
	})
}

func TestDeleteManifest(t *testing.T) {
	s := newSite(t, Options{})
	_, d := s.pushImage("team/app", "v1", "")
	index := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, indexType, imageType, d, len(image("{}", "layer", "")))
	const m = "/v2/team/app/manifests/"
	s.runCases([]exchangeCase{
		{Name: "an index", Method: "PUT", URL: m + "all", Header: header{"Content-Type": indexType}, Body: index, WantCode: 201},
		{Name: "what an index lists", Method: "DELETE", URL: m + d, WantCode: 403, WantError: "DENIED"},
		{
			Name: "what a manifest names", Method: "DELETE", URL: "/v2/team/app/blobs/" + sha256Of("layer"),
			WantCode: 403, WantError: "DENIED",
		},
		{Name: "the tag", Method: "DELETE", URL: m + "v1", WantCode: 202, WantHeader: header{"Content-Length": "0"}},
		{Name: "the tag again", Method: "DELETE", URL: m + "v1", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Name: "a bad tag", Method: "DELETE", URL: m + ".bad", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Name: "it is still there", Method: "HEAD", URL: m + d, WantCode: 200},
		{Name: "the index", Method: "DELETE", URL: m + sha256Of(index), WantCode: 202},
		{Name: "its tag went with it", Method: "HEAD", URL: m + "all", WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Name: "the manifest", Method: "DELETE", URL: m + d, WantCode: 202},
		{Name: "the manifest again", Method: "DELETE", URL: m + d, WantCode: 404, WantError: "MANIFEST_UNKNOWN"},
		{Name: "a bad digest", Method: "DELETE", URL: m + "sha256:bad", WantCode: 400, WantError: "DIGEST_INVALID"},
		{
			Name: "of no repository", Method: "DELETE", URL: "/v2/none/manifests/" + d,
			WantCode: 404, WantError: "MANIFEST_UNKNOWN",
		},
		{
			Name: "the blob", Method: "DELETE", URL: "/v2/team/app/blobs/" + sha256Of("layer"),
			WantCode: 202, WantHeader: header{"Content-Length": "0"},
		},
		{
			Name: "the blob again", Method: "DELETE", URL: "/v2/team/app/blobs/" + sha256Of("layer"),
			WantCode: 404, WantError: "BLOB_UNKNOWN",
		},
	})
}

// TestManifestMemory takes all the memory for manifests. A request that needs some waits, and ends
// when its client leaves.
func TestManifestMemory(t *testing.T) {
	registry := newRegistry(t, "mem://", storage.Options{CacheBytes: 1 << 20})
	s := serveRegistry(t, registry, Options{ManifestMemory: 8 << 20})
	payload, d := s.pushImage("team/app", "v1", "")
	take := func(b *budget) (release func()) {
		if !b.free.TryAcquire(b.total) {
			t.Fatal("memory is reserved before the request")
		}
		return func() { b.free.Release(b.total) }
	}
	s.exchange(exchangeCase{Name: "the cache", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200})
	release := take(s.sendBudget)
	s.exchange(exchangeCase{Name: "what the cache has needs none", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200})
	release()
	s = serveRegistry(t, uncachedRegistry{registry}, Options{ManifestMemory: 8 << 20})
	release = take(s.sendBudget)
	get := "GET /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	waiting := s.dial(get)
	left := s.dial(get)
	left.Close()
	s.log.await(`"route":"manifest"`, `"status":499`)
	s.runCases([]exchangeCase{{Name: "head needs none", Method: "HEAD", URL: "/v2/team/app/manifests/v1", WantCode: 200}})
	release()
	resp, body := s.readAnswer(waiting, "GET")
	s.check(exchangeCase{Name: "after waiting", Method: "GET", URL: "/v2/", WantCode: 200, WantBody: payload, WantHeader: header{"Docker-Content-Digest": d}}, resp, body)
	// A push whose body is read waits for memory to parse it.
	release = take(s.parseBudget)
	waiting = s.dial(fmt.Sprintf("PUT /v2/team/app/manifests/v2 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		"application/vnd.oci.image.manifest.v1+json", len(payload), payload))
	s.runCases([]exchangeCase{{Name: "a pull needs none of that", Method: "GET", URL: "/v2/team/app/manifests/v1", WantCode: 200}})
	s.runCases([]exchangeCase{{Name: "the push waits", Method: "HEAD", URL: "/v2/team/app/manifests/v2", WantCode: 404}})
	release()
	resp, body = s.readAnswer(waiting, "PUT")
	s.check(exchangeCase{Name: "pushed after waiting", Method: "PUT", URL: "/v2/", WantCode: 201, WantHeader: header{"Docker-Content-Digest": d}}, resp, body)
	s.checkBudgets()
}

// uncachedRegistry is a registry without cached payloads.
type uncachedRegistry struct{ Registry }

func (u uncachedRegistry) Manifest(ctx context.Context, repo string, ref manifest.Reference) (storage.Manifest, error) {
	m, err := u.Registry.Manifest(ctx, repo, ref)
	return storage.NewManifest(m, m.Payload), err
}
