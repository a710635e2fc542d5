package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/storage"
)

// pushChunks pushes a blob in several chunks.
func (s *site) pushChunks(repo string, parts ...string) (d string) {
	s.t.Helper()
	cases := []exchangeCase{{Name: "open", Method: "POST", URL: "/v2/" + repo + "/blobs/uploads/", WantCode: 202, Save: "upload"}}
	for _, part := range parts {
		cases = append(cases, exchangeCase{Name: "part", Method: "PATCH", URL: "{upload}", Body: part, WantCode: 202, Save: "upload"})
	}
	d = sha256Of(strings.Join(parts, ""))
	s.runCases(append(cases, exchangeCase{Name: "close", Method: "PUT", URL: "{upload}?digest=" + d, WantCode: 201}))
	return d
}

func TestBlob(t *testing.T) {
	for _, kind := range []string{"one part in memory", "three parts in memory", "a file", "three files"} {
		t.Run(kind, func(t *testing.T) {
			url := "mem://"
			if strings.Contains(kind, "file") {
				url = "file://" + t.TempDir()
			}
			s := serveRegistry(t, newRegistry(t, url, storage.Options{}), Options{})
			const content = "0123456789abcdefghij"
			if strings.Contains(kind, "three") {
				s.pushChunks("team/app", content[:5], content[5:6], content[6:])
			} else {
				s.pushBlob("team/app", content)
			}
			s.runCases(blobCases("/v2/team/app/blobs/", content))
			s.runCases(rangeCases("/v2/team/app/blobs/"+sha256Of(content), content))
			s.checkRanges("/v2/team/app/blobs/"+sha256Of(content), content)
		})
	}
}

func blobCases(b, content string) []exchangeCase {
	d := sha256Of(content)
	u := b + d
	whole := header{
		"Content-Type": "application/octet-stream", "Content-Length": strconv.Itoa(len(content)), "Accept-Ranges": "bytes",
		"Docker-Content-Digest": d, "Etag": `"` + d + `"`, "Content-Range": absent, "Last-Modified": absent,
	}
	part := func(from, to int) header {
		return header{
			"Content-Length": strconv.Itoa(to - from + 1), "Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, to, len(content)),
			"Docker-Content-Digest": d, "Etag": `"` + d + `"`,
		}
	}
	unsatisfied := header{"Content-Range": fmt.Sprintf("bytes */%d", len(content)), "Etag": absent, "Docker-Content-Digest": absent}
	return []exchangeCase{
		{Name: "whole", Method: "GET", URL: u, WantCode: 200, WantHeader: whole, WantBody: content},
		{Name: "head", Method: "HEAD", URL: u, WantCode: 200, WantHeader: whole},
		{
			Name: "escaped", Method: "GET", URL: b + strings.Replace(d, ":", "%3A", 1),
			WantCode: 200, WantHeader: whole, WantBody: content,
		},
		{
			Name: "a range", Method: "GET", URL: u, Header: header{"Range": "bytes=2-4"},
			WantCode: 206, WantHeader: part(2, 4), WantBody: content[2:5],
		},
		{
			Name: "a range, head", Method: "HEAD", URL: u, Header: header{"Range": "bytes=2-4"},
			WantCode: 206, WantHeader: part(2, 4),
		},
		{
			Name: "one byte", Method: "GET", URL: u, Header: header{"Range": "bytes=0-0"},
			WantCode: 206, WantHeader: part(0, 0), WantBody: content[:1],
		},
		{
			Name: "from", Method: "GET", URL: u, Header: header{"Range": "bytes=5-"},
			WantCode: 206, WantHeader: part(5, len(content)-1), WantBody: content[5:],
		},
		{
			Name: "suffix", Method: "GET", URL: u, Header: header{"Range": "bytes=-3"},
			WantCode: 206, WantHeader: part(len(content)-3, len(content)-1), WantBody: content[len(content)-3:],
		},
		{
			Name: "suffix longer than all", Method: "GET", URL: u, Header: header{"Range": "bytes=-300"},
			WantCode: 206, WantHeader: part(0, len(content)-1), WantBody: content,
		},
		{
			Name: "past the end", Method: "GET", URL: u, Header: header{"Range": "bytes=5-300"},
			WantCode: 206, WantHeader: part(5, len(content)-1), WantBody: content[5:],
		},
		{
			Name: "beyond the end", Method: "GET", URL: u, Header: header{"Range": "bytes=20-"},
			WantCode: 416, WantHeader: unsatisfied, WantError: "RANGE_INVALID",
		},
		{
			Name: "beyond the end, head", Method: "HEAD", URL: u, Header: header{"Range": "bytes=20-"},
			WantCode: 416, WantHeader: unsatisfied, WantError: "RANGE_INVALID",
		},
		{
			Name: "backwards", Method: "GET", URL: u, Header: header{"Range": "bytes=5-0"},
			WantCode: 416, WantHeader: unsatisfied, WantError: "RANGE_INVALID",
		},
		{
			Name: "nonsense", Method: "GET", URL: u, Header: header{"Range": "bytes=a-b"},
			WantCode: 416, WantHeader: unsatisfied, WantError: "RANGE_INVALID",
		},
		{
			Name: "of another unit", Method: "GET", URL: u, Header: header{"Range": "lines=1-2"},
			WantCode: 200, WantHeader: header{"Content-Length": "20"}, WantBody: content,
		},
		{
			Name: "of no unit", Method: "GET", URL: u, Header: header{"Range": "lines"},
			WantCode: 200, WantHeader: header{"Content-Length": "20"}, WantBody: content,
		},
		{
			Name: "the last 0 bytes", Method: "GET", URL: u, Header: header{"Range": "bytes=-0"},
			WantCode: 416, WantHeader: unsatisfied, WantError: "RANGE_INVALID",
		},
		{
			Name: "head of the last 0 bytes", Method: "HEAD", URL: u, Header: header{"Range": "bytes=-0"},
			WantCode: 416, WantHeader: header{"Content-Range": "bytes */20"},
		},
		{
			Name: "a range of this", Method: "GET", URL: u, Header: header{"Range": "bytes=2-4", "If-Range": `"` + d + `"`},
			WantCode: 206, WantHeader: part(2, 4), WantBody: content[2:5],
		},
		{
			Name: "a range of another", Method: "GET", URL: u, Header: header{"Range": "bytes=2-4", "If-Range": `"x"`},
			WantCode: 200, WantHeader: whole, WantBody: content,
		},
		{
			Name: "a range of a weak one", Method: "GET", URL: u, Header: header{"Range": "bytes=2-4", "If-Range": `W/"` + d + `"`},
			WantCode: 200, WantHeader: whole, WantBody: content,
		},
		{
			Name: "not modified", Method: "GET", URL: u, Header: header{"If-None-Match": `"` + d + `"`},
			WantCode: 304, WantHeader: header{"Etag": `"` + d + `"`},
		},
		{
			Name: "not modified, head", Method: "HEAD", URL: u, Header: header{"If-None-Match": `"` + d + `"`},
			WantCode: 304, WantHeader: header{"Etag": `"` + d + `"`},
		},
		{
			Name: "modified", Method: "GET", URL: u, Header: header{"If-None-Match": `"x"`},
			WantCode: 200, WantHeader: whole, WantBody: content,
		},
		{
			Name: "if this", Method: "GET", URL: u, Header: header{"If-Match": `"` + d + `"`},
			WantCode: 200, WantHeader: whole, WantBody: content,
		},
		{
			Name: "if another", Method: "GET", URL: u, Header: header{"If-Match": `"x"`},
			WantCode: 412, WantHeader: header{"Etag": absent}, WantError: "DENIED",
		},
		{Name: "unknown", Method: "GET", URL: b + sha256Of("x"), WantCode: 404, WantError: "BLOB_UNKNOWN"},
		{Name: "unknown, head", Method: "HEAD", URL: b + sha256Of("x"), WantCode: 404, WantError: "BLOB_UNKNOWN"},
		{Name: "of another repository", Method: "GET", URL: "/v2/other/blobs/" + d, WantCode: 404, WantError: "BLOB_UNKNOWN"},
	}
}

func TestEmptyBlob(t *testing.T) {
	s := newSite(t, Options{})
	d := sha256Of("")
	empty := header{"Content-Length": "0", "Docker-Content-Digest": d}
	u := "/v2/team/app/blobs/" + d
	s.runCases([]exchangeCase{
		{
			Name: "post", Method: "POST", URL: "/v2/team/app/blobs/uploads/?digest=" + d,
			WantCode: 201, WantHeader: header{"Location": u},
		},
		{Name: "get", Method: "GET", URL: u, WantCode: 200, WantHeader: empty},
		{Name: "head", Method: "HEAD", URL: u, WantCode: 200, WantHeader: empty},
		{
			Name: "a range of nothing", Method: "GET", URL: u, Header: header{"Range": "bytes=0-10"},
			WantCode: 200, WantHeader: empty,
		},
		{
			Name: "the last of nothing", Method: "GET", URL: u, Header: header{"Range": "bytes=-5"},
			WantCode: 200, WantHeader: empty,
		},
		{Name: "open", Method: "POST", URL: "/v2/other/blobs/uploads/", WantCode: 202, Save: "upload"},
		{
			Name: "put", Method: "PUT", URL: "{upload}?digest=" + d,
			WantCode: 201, WantHeader: header{"Location": "/v2/other/blobs/" + d},
		},
		{Name: "get of the other", Method: "GET", URL: "/v2/other/blobs/" + d, WantCode: 200, WantHeader: empty},
	})
}

// replacedBlob is a registry whose blobs are shorter than their size, or fail.
type replacedBlob struct {
	Registry
	bytes func() io.ReadSeekCloser
}

func (s replacedBlob) Blob(context.Context, string, digest.Digest) (storage.Blob, error) {
	open := func(context.Context) (io.ReadSeekCloser, error) { return s.bytes(), nil }
	return storage.NewBlob(digest.FromString("x"), 100_000, open), nil
}

// failingContent is content that is put together of a Reader, a Seeker and a Closer.
type failingContent struct {
	io.Reader
	io.Seeker
	io.Closer
}

// TestShortBlob serves blobs that end early. The connection is cut, so that no client takes the
// body for whole. A blob whose first byte cannot be read is answered as an error.
func TestShortBlob(t *testing.T) {
	zeros := func() io.Reader { return strings.NewReader(strings.Repeat("0", 70_000)) }
	for name, open := range map[string]func() io.Reader{
		"the end":  zeros,
		"an error": func() io.Reader { return iotest.TimeoutReader(zeros()) },
		"at once":  func() io.Reader { return iotest.ErrReader(io.ErrUnexpectedEOF) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serveRegistry(t, replacedBlob{bytes: func() io.ReadSeekCloser {
				return failingContent{open(), &sizeOnly{size: 100_000}, io.NopCloser(nil)}
			}}, Options{})
			for i, more := range []string{"", "Connection: keep-alive\r\n", "Range: bytes=0-90000\r\n", "Range: bytes=0-0,10-90000\r\n"} {
				id := fmt.Sprintf("request-%d", i)
				answered := name == "at once" && !strings.Contains(more, ",")
				if answered {
					more = "Connection: close\r\n"
				}
				conn := s.dial("GET /v2/a/blobs/" + sha256Of("x") + " HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: " + id + "\r\n" + more + "\r\n")
				got, _ := io.ReadAll(conn) // until the server closes the connection or resets it
				if len(got) > 72_000 {
					t.Errorf("got %d bytes of a blob of which there are 70,000", len(got))
				}
				line := s.log.await(id, `"msg":"request"`)
				if answered {
					if !strings.Contains(line, `"status":500`) || strings.Contains(line, `"cut":"`) {
						t.Errorf("logged %s", line)
					}
					continue
				}
				if !strings.Contains(line, `"status":20`) || !strings.Contains(line, `"cut":"`) {
					t.Errorf("logged %s", line)
				}
			}
		})
	}
}

// readFromRecorder is a ResponseWriter that records the arguments of ReadFrom.
type readFromRecorder struct {
	quietWriter
	files int // pieces of files
	body  strings.Builder
}

func (r *readFromRecorder) ReadFrom(src io.Reader) (int64, error) {
	if limited, ok := src.(*io.LimitedReader); ok {
		if _, ok := limited.R.(*os.File); ok {
			r.files++
		}
	}
	return io.Copy(&r.body, src)
}

func (r *readFromRecorder) Write(p []byte) (int, error) { return r.body.Write(p) }

// TestSendfileFromStorage checks that the server's ReadFrom gets a blob as an *os.File, which it
// can send without copying.
func TestSendfileFromStorage(t *testing.T) {
	s := serveRegistry(t, newRegistry(t, "file://"+t.TempDir(), storage.Options{}), Options{})
	content := strings.Repeat("x", 1_000_000)
	d := s.pushBlob("team/app", content)
	for _, c := range []struct{ kind, want string }{{"", content}, {"bytes=10-", content[10:]}} {
		r := &readFromRecorder{quietWriter: quietWriter{make(http.Header)}}
		req, err := http.NewRequest("GET", "http://localhost/v2/team/app/blobs/"+d, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Range", c.kind)
		s.serve(r, req)
		if r.files == 0 || r.body.String() != c.want {
			t.Errorf("range %q: %d bytes, %d of the pieces were files", c.kind, r.body.Len(), r.files)
		}
	}
}
