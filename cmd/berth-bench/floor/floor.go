// Package floor is the reference against which a registry's cost is measured: the least work that a
// durable Go registry can do for a request. It has no repositories and no metadata, and checks only
// the digests of uploads, so it is not a registry.
//
// It makes the guarantees that a fair comparison needs:
//
//   - Before the 201 for a blob, its bytes have been hashed as they arrived, written, fsynced and
//     renamed, and the directory has been fsynced.
//   - Before the 201 for a manifest, it is in a log that has been fsynced.
//   - Blobs are sent with sendfile, and manifests from a map.
package floor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// bufferSize is how much of an upload is read before it is hashed and written. Each request with a
// body allocates a buffer of this size, as a simple program would. The targets were set against a
// floor that does so.
const bufferSize = 256 << 10

// Floor is an http.Handler that stores its data in one directory. Of what an earlier Floor stored
// there, it serves the blobs only.
type Floor struct {
	dir     string
	dirFile *os.File

	logMu   sync.Mutex
	logFile *os.File

	uploads   sync.Map // id → *upload
	manifests sync.Map // path → []byte
	lastID    atomic.Int64
}

// Open creates dir if necessary, and truncates the log of manifests in it.
func Open(dir string) (*Floor, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	dirFile, err := os.Open(dir)
	if err != nil {
		return nil, errors.Join(err, logFile.Close())
	}
	return &Floor{dir: dir, dirFile: dirFile, logFile: logFile}, nil
}

// Close closes the directory and the log. All requests must have ended.
func (f *Floor) Close() error {
	return errors.Join(f.logFile.Close(), f.dirFile.Close())
}

// ServeHTTP serves GET /v2/, uploads by POST, PATCH and PUT, GET and HEAD of blobs, and PUT, GET
// and HEAD of manifests. All other requests are answered 404.
func (f *Floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	var err error
	switch {
	case path == "/v2/":
		_, err = w.Write([]byte("{}"))
	case strings.Contains(path, "/blobs/uploads/"):
		err = f.serveUpload(w, r)
	case strings.Contains(path, "/blobs/"):
		err = f.serveBlob(w, r)
	case strings.Contains(path, "/manifests/") && r.Method == http.MethodPut:
		err = f.putManifest(w, r)
	case strings.Contains(path, "/manifests/"):
		err = f.serveManifest(w, r)
	default:
		err = os.ErrNotExist
	}
	switch {
	case err == nil:
	case errors.Is(err, os.ErrNotExist):
		http.Error(w, "unknown", http.StatusNotFound)
	case errors.Is(err, errDigest):
		http.Error(w, err.Error(), http.StatusBadRequest)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (f *Floor) serveBlob(w http.ResponseWriter, r *http.Request) error {
	name := lastElement(r.URL.Path)
	_, encoded, ok := strings.Cut(name, ":")
	if !ok {
		return os.ErrNotExist
	}
	file, err := os.Open(filepath.Join(f.dir, encoded))
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Docker-Content-Digest", name)
	http.ServeContent(w, r, "", info.ModTime(), file)
	return nil
}

func (f *Floor) putManifest(w http.ResponseWriter, r *http.Request) error {
	payload, err := readBody(r)
	if err != nil {
		return err
	}
	if err := f.appendLog(payload); err != nil {
		return err
	}
	path := r.URL.Path
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(payload))
	f.manifests.Store(path, payload)
	f.manifests.Store(strings.TrimSuffix(path, lastElement(path))+digest, payload)
	w.WriteHeader(http.StatusCreated)
	return nil
}

// appendLog returns when payload is durable. Each call has its own fsync.
func (f *Floor) appendLog(payload []byte) error {
	f.logMu.Lock()
	defer f.logMu.Unlock()
	if _, err := f.logFile.Write(payload); err != nil {
		return err
	}
	return f.logFile.Sync()
}

func (f *Floor) serveManifest(w http.ResponseWriter, r *http.Request) error {
	stored, ok := f.manifests.Load(r.URL.Path)
	if !ok {
		return os.ErrNotExist
	}
	payload := stored.([]byte)
	w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	w.Header().Set("Content-Length", strconv.Itoa(len(payload)))
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(payload)
	return err
}

func lastElement(path string) string {
	return path[strings.LastIndexByte(path, '/')+1:]
}
