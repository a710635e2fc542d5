package floor

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func start(t *testing.T) (*httptest.Server, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "floor")
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(f)
	t.Cleanup(func() {
		s.Close()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

func do(t *testing.T, method, url string, body []byte, want int) (http.Header, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != want {
		t.Fatalf("%s %s: %d %s, want %d", method, url, res.StatusCode, got, want)
	}
	return res.Header, got
}

func TestBlob(t *testing.T) {
	s, dir := start(t)
	body := bytes.Repeat([]byte("floor"), bufferSize/2)
	half := len(body) / 3
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(body))
	blobURL := s.URL + "/v2/a/b/blobs/" + digest

	do(t, "GET", blobURL, nil, 404)
	h, _ := do(t, "POST", s.URL+"/v2/a/b/blobs/uploads/", nil, 202)
	h, _ = do(t, "PATCH", s.URL+h.Get("Location"), body[:half], 202)
	do(t, "PUT", s.URL+h.Get("Location")+"?digest="+digest, body[half:], 201)
	do(t, "PUT", s.URL+h.Get("Location")+"?digest="+digest, nil, 404)

	h, got := do(t, "GET", blobURL, nil, 200)
	if !bytes.Equal(got, body) || h.Get("Docker-Content-Digest") != digest {
		t.Errorf("GET: %d bytes, digest %q", len(got), h.Get("Docker-Content-Digest"))
	}
	h, _ = do(t, "HEAD", blobURL, nil, 200)
	if h.Get("Content-Length") != fmt.Sprint(len(body)) {
		t.Errorf("HEAD: Content-Length %s, want %d", h.Get("Content-Length"), len(body))
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "upload-*")); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
}

func TestBlobWithWrongDigest(t *testing.T) {
	s, dir := start(t)
	h, _ := do(t, "POST", s.URL+"/v2/a/blobs/uploads/", nil, 202)
	wrong := fmt.Sprintf("sha256:%x", sha256.Sum256(nil))
	do(t, "PUT", s.URL+h.Get("Location")+"?digest="+wrong, []byte("x"), 400)
	do(t, "HEAD", s.URL+"/v2/a/blobs/"+wrong, nil, 404)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 { // the log
		t.Errorf("left behind: %v", entries)
	}
}

func TestManifest(t *testing.T) {
	s, dir := start(t)
	payload := []byte(`{"schemaVersion":2}`)
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256(payload))
	do(t, "GET", s.URL+"/v2/a/manifests/latest", nil, 404)
	do(t, "PUT", s.URL+"/v2/a/manifests/latest", payload, 201)
	for _, ref := range []string{"latest", digest} {
		if _, got := do(t, "GET", s.URL+"/v2/a/manifests/"+ref, nil, 200); !bytes.Equal(got, payload) {
			t.Errorf("GET %s: %s", ref, got)
		}
		h, _ := do(t, "HEAD", s.URL+"/v2/a/manifests/"+ref, nil, 200)
		if h.Get("Content-Length") != fmt.Sprint(len(payload)) {
			t.Errorf("HEAD %s: Content-Length %s", ref, h.Get("Content-Length"))
		}
	}
	logged, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil || !bytes.Equal(logged, payload) {
		t.Errorf("log holds %q (%v), want the payload", logged, err)
	}
}

func TestPing(t *testing.T) {
	s, _ := start(t)
	if _, got := do(t, "GET", s.URL+"/v2/", nil, 200); string(got) != "{}" {
		t.Errorf("body %q", got)
	}
	do(t, "GET", s.URL+"/v2/_catalog", nil, 404)
}
