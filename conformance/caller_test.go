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

// content is a blob that can be made again from its number.
type content struct {
	number uint64
	size   int64
	digest digest.Digest
}

// newContent hashes the bytes that belong to a number.
func newContent(number uint64, size int64, alg digest.Algorithm) content {
	c := content{number: number, size: size}
	h := alg.Hash()
	io.Copy(h, c.from(0, size))
	c.digest = digest.NewDigest(alg, h)
	return c
}

// from reads n bytes of the content from an offset on.
func (c content) from(offset, n int64) io.Reader {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], c.number)
	stream := rand.NewChaCha8(seed)
	io.CopyN(io.Discard, stream, offset)
	return io.LimitReader(stream, n)
}

// caller speaks the registry protocol to one registry.
type caller struct {
	base string // scheme and host, no slash at the end
	http *http.Client
}

// newCaller makes a caller with connections of its own.
func newCaller(base string) *caller {
	t := &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true}
	return &caller{base: base, http: &http.Client{Transport: t}}
}

// answer is what came back. err is set when nothing did, or not all of it.
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

// request is one exchange to make.
type request struct {
	method, path string // the path may be a whole URL
	header       map[string]string
	body         io.Reader
	length       int64 // of the body; -1 sends it chunked
}

// do makes an exchange and reads the whole answer.
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

// session is an upload under way.
type session struct {
	url string
}

// open starts an upload; query may be empty.
func (c *caller) open(repo, query string) (session, answer) {
	path := "/v2/" + repo + "/blobs/uploads/"
	if query != "" {
		path += "?" + query
	}
	a := c.do(request{method: "POST", path: path, body: http.NoBody})
	return c.sessionAt(a), a
}

// follow is the session that an answer's Location names.
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

// patch sends n bytes of the content from an offset on; ranged is whether the
// request tells the offset.
func (c *caller) patch(s session, b content, offset, n int64, ranged bool) answer {
	header := map[string]string{"Content-Type": "application/octet-stream"}
	length := n
	if ranged {
		header["Content-Range"] = fmt.Sprintf("%d-%d", offset, offset+n-1)
	} else {
		length = -1
	}
	return c.do(request{method: "PATCH", path: s.url, header: header, body: b.from(offset, n), length: length})
}

// put closes an upload, with the bytes from an offset on in its body.
func (c *caller) put(s session, b content, offset int64) answer {
	sep := "?"
	if strings.Contains(s.url, "?") {
		sep = "&"
	}
	n := b.size - offset
	header := map[string]string{"Content-Type": "application/octet-stream"}
	return c.do(request{method: "PUT", path: s.url + sep + "digest=" + url.QueryEscape(b.digest.String()),
		header: header, body: b.from(offset, n), length: n})
}

// post pushes a blob in one request.
func (c *caller) post(repo string, b content) answer {
	return c.do(request{method: "POST", path: "/v2/" + repo + "/blobs/uploads/?digest=" + url.QueryEscape(b.digest.String()),
		header: map[string]string{"Content-Type": "application/octet-stream"}, body: b.from(0, b.size), length: b.size})
}

// received says how many bytes of an upload the registry has. One byte reads as
// none: the range "0-0" is said of both.
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

// hold reads what a place holds: its value, and what is wrong with what was
// served for it, if anything. The error says that no whole answer came, or that
// of a failing server.
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
