package floor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

var errDigest = errors.New("the bytes do not have this digest")

// upload is an upload session. It must be used by one request at a time.
type upload struct {
	file *os.File
	sum  hash.Hash
}

func (f *Floor) serveUpload(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		return f.startUpload(w, r)
	}
	id := lastElement(r.URL.Path)
	stored, ok := f.uploads.Load(id)
	if !ok {
		return os.ErrNotExist
	}
	up := stored.(*upload)
	if err := f.appendBody(up, r.Body); err != nil {
		return err
	}
	if r.Method == http.MethodPatch {
		w.Header().Set("Location", r.URL.Path)
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	f.uploads.Delete(id)
	if err := f.commit(up, r.URL.Query().Get("digest")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (f *Floor) startUpload(w http.ResponseWriter, r *http.Request) error {
	id := strconv.FormatInt(f.lastID.Add(1), 10)
	file, err := os.Create(filepath.Join(f.dir, "upload-"+id))
	if err != nil {
		return err
	}
	f.uploads.Store(id, &upload{file: file, sum: sha256.New()})
	w.Header().Set("Location", r.URL.Path+id)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// appendBody reads src, hashes and writes it. It does not use io.CopyBuffer, which would call
// ReadFrom of *os.File, and that ignores the buffer.
func (f *Floor) appendBody(up *upload, src io.Reader) error {
	buf := make([]byte, bufferSize)
	for {
		n, err := src.Read(buf)
		up.sum.Write(buf[:n])
		if _, werr := up.file.Write(buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// commit returns when the blob is durable under its digest.
func (f *Floor) commit(up *upload, want string) error {
	defer up.file.Close()
	encoded := hex.EncodeToString(up.sum.Sum(nil))
	if "sha256:"+encoded != want {
		return errors.Join(errDigest, os.Remove(up.file.Name()))
	}
	if err := up.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(up.file.Name(), filepath.Join(f.dir, encoded)); err != nil {
		return err
	}
	return f.dirFile.Sync()
}

func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 || r.ContentLength > 4<<20 {
		return nil, errors.New("a manifest needs a Content-Length of at most 4 MiB")
	}
	payload := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, payload)
	return payload, err
}
