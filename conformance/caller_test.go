package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
)

// content is a blob whose bytes are generated from its number.
type content struct {
	number uint64
	size   int64
	digest digest.Digest
}

// newContent returns the content of a number, with its digest.
func newContent(number uint64, size int64, alg digest.Algorithm) content {
	c := content{number: number, size: size}
	h := alg.Hash()
	io.Copy(h, c.slice(0, size))
	c.digest = digest.NewDigest(alg, h)
	return c
}

// slice returns a reader of n bytes of the content at an offset.
func (c content) slice(offset, n int64) io.Reader {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], c.number)
	stream := rand.NewChaCha8(seed)
	io.CopyN(io.Discard, stream, offset)
	return io.LimitReader(stream, n)
}

// caller is a client of one registry that speaks the protocol itself.
type caller struct {
	base string // scheme and host, without a slash at the end
	http *http.Client
}

// newCaller makes a caller with its own connections.
func newCaller(base string) *caller {
	t := &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true}
	return &caller{base: base, http: &http.Client{Transport: t}}
}

// answer is the answer to a request. err is set if there was none, or only a part.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%d %s", a.status, bytes.TrimSpace(a.body))
}

// request is a request to send.
type request struct {
	method, path string // path may be a whole URL
	header       map[string]string
	body         io.Reader
	length       int64 // of the body; -1 sends it chunked
}

// do sends a request and reads the whole answer.
func (c *caller) do(r request) answer {
	target := r.path
	if strings.HasPrefix(target, "/") {
		target = c.base + target
	}
	req, err := http.NewRequest(r.method, target, r.body)
	if err != nil {
		return answer{err: err}
	}
	if r.body != nil {
		req.ContentLength = r.length
		if r.length == 0 {
			req.Body = http.NoBody
		}
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: body, err: err}
}

// session is an open upload session.
type session struct {
	url string
}

// open opens an upload session; query may be empty.
func (c *caller) open(repo, query string) (session, answer) {
	path := "/v2/" + repo + "/blobs/uploads/"
	if query != "" {
		path += "?" + query
	}
	a := c.do(request{method: "POST", path: path, body: http.NoBody})
	return c.sessionAt(a), a
}

// sessionAt returns the session at the Location of an answer.
func (c *caller) sessionAt(a answer) session {
	base, err := url.Parse(c.base)
	if err != nil || a.header == nil {
		return session{}
	}
	u, err := base.Parse(a.header.Get("Location"))
	if err != nil {
		return session{}
	}
	return session{url: u.String()}
}

// patch sends n bytes of the content at an offset. ranged is whether the request has a
// Content-Range.
func (c *caller) patch(s session, b content, offset, n int64, ranged bool) answer {
	header := map[string]string{"Content-Type": "application/octet-stream"}
	length := n
	if ranged {
		header["Content-Range"] = fmt.Sprintf("%d-%d", offset, offset+n-1)
	} else {
		length = -1
	}
	return c.do(request{method: "PATCH", path: s.url, header: header, body: b.slice(offset, n), length: length})
}

// put closes an upload session. Its body is the content from an offset on.
func (c *caller) put(s session, b content, offset int64) answer {
	sep := "?"
	if strings.Contains(s.url, "?") {
		sep = "&"
	}
	n := b.size - offset
	header := map[string]string{"Content-Type": "application/octet-stream"}
	return c.do(request{method: "PUT", path: s.url + sep + "digest=" + url.QueryEscape(b.digest.String()),
		header: header, body: b.slice(offset, n), length: n})
}

// post pushes a blob in one request.
func (c *caller) post(repo string, b content) answer {
	return c.do(request{method: "POST", path: "/v2/" + repo + "/blobs/uploads/?digest=" + url.QueryEscape(b.digest.String()),
		header: map[string]string{"Content-Type": "application/octet-stream"}, body: b.slice(0, b.size), length: b.size})
}

// received returns how many bytes of an upload the registry has. It cannot tell one byte from none:
// both have the range "0-0".
func (c *caller) received(s session) (int64, answer) {
	a := c.do(request{method: "GET", path: s.url})
	if a.err != nil || a.status != http.StatusNoContent {
		return 0, a
	}
	var last int64
	if _, err := fmt.Sscanf(a.header.Get("Range"), "0-%d", &last); err != nil {
		a.err = fmt.Errorf("Range %q of an upload: %w", a.header.Get("Range"), err)
		return 0, a
	}
	if last == 0 {
		return 0, a
	}
	return last + 1, a
}

// putManifest pushes a manifest by a tag or digest.
func (c *caller) putManifest(repo, reference, mediaType string, payload []byte) answer {
	return c.do(request{method: "PUT", path: "/v2/" + repo + "/manifests/" + reference,
		header: map[string]string{"Content-Type": mediaType}, body: bytes.NewReader(payload), length: int64(len(payload))})
}

// read fetches a place and returns its value, and what is wrong with the answer, if anything. It
// returns an error if the answer is incomplete or is a server error.
func (c *caller) read(p place, mediaType string) (value, wrong string, err error) {
	what := "manifests"
	if p.kind == blobKind {
		what = "blobs"
	}
	req, err := http.NewRequest("GET", c.base+"/v2/"+p.repo+"/"+what+"/"+p.name, nil)
	if err != nil {
		return absent, "", err
	}
	for _, accepted := range []string{ociManifest, ociIndex, dockerManifest, dockerList, "*/*"} {
		req.Header.Add("Accept", accepted)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return absent, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, err := io.ReadAll(resp.Body)
		switch {
		case err != nil || resp.StatusCode == http.StatusNotFound:
			return absent, "", err
		case resp.StatusCode >= 500:
			return absent, "", fmt.Errorf("status %d: %s", resp.StatusCode, body)
		}
		return absent, fmt.Sprintf("status %d: %s", resp.StatusCode, body), nil
	}
	value = resp.Header.Get("Docker-Content-Digest")
	if p.kind != tagKind {
		value = p.name
	}
	d, err := digest.Parse(value)
	if err != nil {
		return value, "no digest in the answer", nil
	}
	verifier := d.Verifier()
	n, err := io.Copy(verifier, resp.Body)
	switch {
	case err != nil:
		return value, "", fmt.Errorf("the body broke off after %d of %d bytes: %w", n, resp.ContentLength, err)
	case !verifier.Verified():
		return value, fmt.Sprintf("%d bytes that are not of this digest", n), nil
	case p.kind == manifestKind && mediaType != "" && resp.Header.Get("Content-Type") != mediaType:
		return value, "served as " + resp.Header.Get("Content-Type") + ", pushed as " + mediaType, nil
	}
	return value, "", nil
}
