// Package floor is what a registry's cost is measured against: the least work
// that a durable Go registry can do for a request, and nothing else. It knows
// no repositories, keeps no metadata and checks nothing but an upload's
// digest, so it is no registry.
//
// What it does guarantee is what makes the comparison fair: a blob's bytes are
// hashed as they arrive, written, fsynced and renamed, and the directory is
// fsynced, before its 201; a manifest is in an fsynced log before its 201; a
// blob leaves by sendfile. Manifests are served from a map.
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

// bufferSize is how much of an upload is read before it is hashed and written.
// Each request with a body allocates as much, as a program of so few lines
// would; the targets were set against a floor that does.
const bufferSize = 256 << 10

// Floor is an http.Handler over one directory. It does not read what an
// earlier Floor left there, but for the blobs.
type Floor struct {
	dir     string
	dirFile *os.File

	logMu   sync.Mutex
	logFile *os.File

	uploads   sync.Map // id → *upload
	manifests sync.Map // path → []byte
	lastID    atomic.Int64
}

// Open makes dir if it is not there and empties the manifests' log in it.
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

// Close releases the directory and the log. Requests must have ended.
func (f *Floor) Close() error {
	return errors.Join(f.logFile.Close(), f.dirFile.Close())
}

// ServeHTTP answers GET /v2/, uploads by POST, PATCH and PUT, GET and HEAD of
// blobs, and PUT, GET and HEAD of manifests; all else is 404.
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

// appendLog returns once payload is durable. Nothing shares its fsync.
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
