package conformance

import (
	"bytes"
	"database/sql"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// whileStopped stops the server, calls change, and starts it again.
func (s *server) whileStopped(change func()) {
	s.t.Helper()
	s.Stop()
	change()
	s.Restart()
}

// execSQL changes the rows of a stopped server.
func (s *server) execSQL(query string) {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(s.Data, "berth.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		s.t.Fatal(err)
	}
}

// rot changes a byte in every object of the bucket.
func (s *server) rot() {
	s.t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Data, "blobs", "content"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text[len(text)/2] ^= 1
		return os.WriteFile(path, text, 0o600)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// wantAnswer sends a request and requires the status and, unless it is nil, the body of its answer.
func (s *server) wantAnswer(c *caller, r request, status int, body []byte) answer {
	s.t.Helper()
	a := c.do(r)
	if a.err != nil || a.status != status || body != nil && !bytes.Equal(a.body, body) {
		s.t.Errorf("%s %s: %.200s, want %d %.80q", r.method, r.path, a, status, body)
	}
	return a
}

// TestI1RottenBlob: a push replaces bytes that have changed on the disk, for every kind of upload
// and in every repository with the blob. Stored bytes are trusted for a day, so the test changes
// the time in the rows.
func TestI1RottenBlob(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{Env: []string{"BERTH_STORAGE_DELETE_DELAY=1s"}})
	c := newCaller(s.URL)
	alike := map[string]func(repo string, b content) answer{
		"whole": c.post,
		"chunks": func(repo string, b content) answer {
			up, a := c.open(repo, "")
			if a.status != http.StatusAccepted {
				return a
			}
			for _, offset := range []int64{0, 1000, 2000} {
				if a := c.patch(up, b, offset, 1000, true); a.status != http.StatusAccepted {
					return a
				}
			}
			return c.put(up, b, 3000)
		},
	}
	blobs := map[string]content{}
	for first := range alike {
		for again := range alike {
			b := newContent(uint64(len(blobs)), 5000, digest.SHA256)
			blobs[first+" "+again] = b
			for _, repo := range []string{"team/app", "other"} {
				if a := alike[first](repo, b); a.status != http.StatusCreated {
					t.Fatalf("push: %s", a)
				}
			}
		}
	}
	get := func(repo string, b content) request {
		return request{method: "GET", path: fmt.Sprintf("/v2/%s/blobs/%s", repo, b.digest)}
	}
	s.whileStopped(func() {
		s.rot()
		s.execSQL(`UPDATE blobs SET checked_at = checked_at - 25 * 3600 * 1000000`)
	})
	for name, b := range blobs {
		a := s.wantAnswer(c, get("team/app", b), http.StatusOK, nil)
		if digest.FromBytes(a.body) == b.digest {
			t.Fatalf("%s: the bytes on the disk did not change", name)
		}
		_, again, _ := strings.Cut(name, " ")
		if a := alike[again]("team/app", b); a.status != http.StatusCreated {
			t.Errorf("%s: pushed again: %s", name, a)
		}
		for _, repo := range []string{"team/app", "other"} {
			if a := s.wantAnswer(c, get(repo, b), http.StatusOK, nil); digest.FromBytes(a.body) != b.digest {
				t.Errorf("%s: after a push of the right bytes %s has others", name, repo)
			}
		}
	}
	s.Stop()
	requireConsistent(t, filepath.Join(s.Data, "berth.db"), filepath.Join(s.Data, "blobs"))
}

// TestI2RottenManifest: a payload that has changed in its row is not served. A client that checks
// for the manifest pushes it again, which repairs it.
func TestI2RottenManifest(t *testing.T) {
	t.Parallel()
	s := startBerth(t, options{})
	c := newCaller(s.URL)
	config := newContent(1, 100, digest.SHA256)
	if a := c.post("team/app", config); a.status != http.StatusCreated {
		t.Fatalf("push: %s", a)
	}
	const mediaType = "application/vnd.oci.image.manifest.v1+json"
	payload := encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": mediaType, "layers": []any{}, "annotations": map[string]string{"note": "good"},
		"config": descriptor("application/vnd.oci.image.config.v1+json", config.digest, 100),
	})
	tag := "/v2/team/app/manifests/latest"
	byDigest := "/v2/team/app/manifests/" + digest.FromBytes(payload).String()
	if a := c.putManifest("team/app", "latest", mediaType, payload); a.status != http.StatusCreated {
		t.Fatalf("push: %s", a)
	}
	s.whileStopped(func() {
		s.execSQL(`UPDATE manifests SET payload = CAST(replace(CAST(payload AS TEXT), 'good', 'evil') AS BLOB)`)
	})
	for _, path := range []string{tag, byDigest, tag} {
		a := s.wantAnswer(c, request{method: "GET", path: path}, http.StatusNotFound, nil)
		if !bytes.Contains(a.body, []byte("MANIFEST_UNKNOWN")) || a.header.Get("Docker-Content-Digest") != "" {
			t.Errorf("%s: %v %s", path, a.header, a)
		}
		s.wantAnswer(c, request{method: "HEAD", path: path}, http.StatusNotFound, nil)
	}
	if a := c.putManifest("team/app", "latest", mediaType, payload); a.status != http.StatusCreated {
		t.Fatalf("pushed again: %s", a)
	}
	for _, path := range []string{tag, byDigest} {
		s.wantAnswer(c, request{method: "GET", path: path}, http.StatusOK, payload)
	}
	s.whileStopped(func() {
		told := 0
		for _, l := range s.Log() {
			if l.Level == "ERROR" && l.Repository == "team/app" && strings.Contains(l.Raw, digest.FromBytes(payload).String()) {
				told++
			}
		}
		if told != 1 {
			t.Errorf("the log tells %d times of the damage", told)
		}
	})
	s.wantAnswer(c, request{method: "GET", path: tag}, http.StatusOK, payload)
}
