package api

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/api/web"
	"github.com/berth-registry/berth/manifest"
	"github.com/berth-registry/berth/storage"
)

// getBlob sends a blob, or the parts of it that Range asks for (spec, "Pulling blobs"), or
// redirects the client to the store. HEAD sends the same header as a GET that is not redirected,
// without opening the blob.
func (a *API) getBlob(w *web.Response, r *request) error {
	blob, err := a.registry.Blob(r.Context(), r.repo, r.digest)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Docker-Content-Digest", blob.Digest.String())
	h.Set("Etag", etag(blob.Digest))
	if notModified(w, r, blob.Digest) {
		return nil
	}
	h.Set("Content-Type", "application/octet-stream")
	asked := r.Header.Get("Range")
	if err := checkRange(w, r, blob.Size); err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		return serveContent(w, r, asked, blob.Size, &sizeOnly{size: blob.Size})
	}
	if a.options.Redirect.selects(r, blob.Size) {
		if done, err := a.redirectBlob(w, r, blob); done || err != nil {
			return err
		}
	}
	content, err := blob.Open(r.Context())
	if err != nil {
		return err
	}
	if strings.Contains(r.Header.Get("Range"), ",") {
		content = &lockedContent{content: content}
	}
	defer content.Close()
	return serveContent(w, r, asked, blob.Size, content)
}

// deleteBlob removes a blob from the repository (spec, "Deleting Blobs").
func (a *API) deleteBlob(w *web.Response, r *request) error {
	if err := a.reserveAudit(r); err != nil {
		return err
	}
	if err := a.registry.DeleteBlob(r.Context(), r.caller.Owner(), r.repo, r.digest); err != nil {
		return err
	}
	return writeAccepted(w)
}

// writeAccepted answers a deletion with 202.
func writeAccepted(w *web.Response) error {
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// writeCreated answers with 201 and the location of a blob.
func (a *API) writeCreated(w *web.Response, r *request, d digest.Digest) error {
	h := w.Header()
	h.Set("Location", a.locationBase(r.origin)+blobPath(r.repo, d))
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Content-Length", "0")
	w.WriteHeader(http.StatusCreated)
	return nil
}

func blobPath(repo string, d digest.Digest) string {
	return "/v2/" + repo + "/blobs/" + d.String()
}

// maxRanges is the maximum number of ranges in one request: each costs far more than its few bytes
// in the header. Clients that ask for hundreds (zstd:chunked, eStargz) ask for fewer after a 400.
const maxRanges = 256

// checkRange handles the cases in which http.ServeContent differs from RFC 9110, 14. A range of an
// unknown unit, or of an empty blob, is ignored. A range of the last 0 bytes is not satisfiable. A
// number may have any length. It rejects too many ranges, as 14.2 allows.
func checkRange(w *web.Response, r *request, size int64) error {
	value := r.Header.Get("Range")
	specs, known := strings.CutPrefix(value, "bytes=")
	switch {
	case value == "":
		return nil
	case !known || size == 0:
		r.Header.Del("Range")
		return nil
	case strings.Count(specs, ",") >= maxRanges:
		return manifest.Errorf(errTooManyRanges, "more than %d ranges: ask for fewer at once", maxRanges)
	}
	var satisfiable []string
	for spec := range strings.SplitSeq(specs, ",") {
		spec = strings.TrimSpace(spec)
		if last, suffix := strings.CutPrefix(spec, "-"); !suffix || last == "" || strings.Trim(last, "0") != "" {
			satisfiable = append(satisfiable, longNumber.ReplaceAllStringFunc(spec, clamp))
		}
	}
	if len(satisfiable) == 0 {
		return rangeError(w, size, value)
	}
	r.Header.Set("Range", "bytes="+strings.Join(satisfiable, ","))
	return nil
}

// longNumber matches the numbers that may be larger than the largest int64, which net/http does not
// parse.
var longNumber = regexp.MustCompile(`[0-9]{19,}`)

// clamp returns the number n, or the largest int64 if n is larger: both are beyond the end of any
// blob.
func clamp(n string) string {
	if _, err := strconv.ParseInt(n, 10, 64); err != nil {
		return strconv.FormatInt(math.MaxInt64, 10)
	}
	return n
}

// rangeError returns the error of a range that cannot be satisfied.
func rangeError(w *web.Response, size int64, value string) error {
	w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
	return manifest.Errorf(errRange, "the blob has %d bytes, and nothing in the range %q", size, web.Shorten(value))
}

// serveContent is http.ServeContent, but returns the errors that http.ServeContent would answer in
// plain text. asked is the Range as the client sent it.
func serveContent(w *web.Response, r *request, asked string, size int64, content io.ReadSeeker) error {
	iw := &intercept{Response: w, content: content}
	caching := w.Header()["Cache-Control"]
	http.ServeContent(iw, r.Request, "", time.Time{}, content)
	w.Header()["Cache-Control"] = caching // http.ServeContent deletes it from errors
	if iw.failed != nil {
		w.Header().Del("Content-Range")
		return iw.failed
	}
	switch iw.refused {
	case 0:
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		return rangeError(w, size, asked)
	case http.StatusPreconditionFailed:
		return manifest.Errorf(storage.ErrPrecondition, "the blob is not what If-Match says")
	default:
		return fmt.Errorf("serve %d bytes: refused with %d: %s", size, iw.refused, iw.text)
	}
}

// intercept withholds an answer that is an error, or whose first byte cannot be read.
type intercept struct {
	*web.Response
	content io.Reader // positioned at the first byte of the answer when WriteHeader is called
	failed  error     // of reading that byte
	refused int       // status of an error; 0 for none
	text    []byte    // body of an error
}

func (w *intercept) WriteHeader(status int) {
	if status >= http.StatusBadRequest {
		w.refused = status
		return
	}
	// An empty Read makes storage open the object with the first byte.
	if _, err := w.content.Read(nil); err != nil && err != io.EOF {
		w.failed = err
		return
	}
	w.Response.WriteHeader(status)
}

func (w *intercept) Write(p []byte) (int, error) {
	switch {
	case w.failed != nil:
		return 0, w.failed
	case w.refused != 0:
		w.text = append(w.text, p...)
		return len(p), nil
	}
	return w.Response.Write(p)
}

func (w *intercept) ReadFrom(src io.Reader) (int64, error) {
	if w.failed != nil {
		return 0, w.failed
	}
	return w.Response.ReadFrom(src)
}

// sizeOnly is content of a known size that is never read, for HEAD.
type sizeOnly struct {
	size, at int64
}

func (s *sizeOnly) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += s.size
	}
	s.at = offset
	return offset, nil
}

func (s *sizeOnly) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return 0, errors.New("the bytes were not opened")
}

// lockedContent is content with a lock. For several ranges http.ServeContent reads it in a
// goroutine that may still run when http.ServeContent has returned.
type lockedContent struct {
	mu      sync.Mutex
	content io.ReadSeekCloser
}

// Read ignores an empty p, which intercept uses to open the first object: with several ranges the
// position of the first one is known only to the goroutine.
func (s *lockedContent) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content.Read(p)
}

func (s *lockedContent) Seek(offset int64, whence int) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content.Seek(offset, whence)
}

func (s *lockedContent) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content.Close()
}
