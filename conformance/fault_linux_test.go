package conformance

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/berth-registry/berth/internal/testserver"
)

// fullDisk is a small file system that a test can fill.
type fullDisk struct {
	t   *testing.T
	dir string
}

func newFullDisk(t *testing.T, bytes int64) *fullDisk {
	t.Helper()
	if os.Geteuid() != 0 {
		testserver.SkipOrFail(t, "mounting a file system of its own needs root")
	}
	d := &fullDisk{t: t, dir: t.TempDir()}
	if err := unix.Mount("tmpfs", d.dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		testserver.SkipOrFail(t, "no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", d.dir, err)
		}
	})
	return d
}

func (d *fullDisk) free() int64 {
	var s unix.Statfs_t
	if err := unix.Statfs(d.dir, &s); err != nil {
		d.t.Errorf("statfs %s: %v", d.dir, err)
	}
	return int64(s.Bavail) * s.Bsize
}

// fill leaves the given number of bytes free. It may be called from any goroutine.
func (d *fullDisk) fill(leave int64) {
	f, err := os.OpenFile(filepath.Join(d.dir, "filler"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		d.t.Error(err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		d.t.Error(err)
		return
	}
	if more := d.free() - leave; more > 0 {
		if err := unix.Fallocate(int(f.Fd()), 0, info.Size(), more); err != nil {
			d.t.Errorf("filling the disk: %v", err)
		}
	}
}

// empty frees the space again.
func (d *fullDisk) empty() {
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.t.Error(err)
	}
}

// startOn starts a server with database and bucket on the disk.
func (d *fullDisk) startOn(minFree string) *server {
	d.t.Helper()
	return startBerth(d.t, options{
		Data: filepath.Join(d.dir, "data"),
		Env:  []string{"BERTH_LOG_LEVEL=warn", "BERTH_STORAGE_MIN_FREE=" + minFree},
	})
}

// requireFull requires the answer to an upload for which there is no space.
func requireFull(t *testing.T, a answer, what string) {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string }
	}
	err := json.Unmarshal(a.body, &body)
	switch {
	case a.err != nil || a.status != http.StatusInsufficientStorage:
		t.Errorf("%s on a full disk: %v, want 507", what, a)
	case !strings.HasPrefix(a.header.Get("Content-Type"), "application/json"):
		t.Errorf("%s on a full disk: Content-Type %q", what, a.header.Get("Content-Type"))
	case err != nil || len(body.Errors) != 1 || body.Errors[0].Code == "" || body.Errors[0].Message == "":
		t.Errorf("%s on a full disk: the body is not an error of the specification: %s", what, a.body)
	}
}

// patchWhile sends a PATCH on a new connection and calls between after the first part of the body.
// It reads the answer even if the server does not take the rest of the body.
func patchWhile(t *testing.T, c *caller, s session, b content, first int64, between func()) answer {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PATCH %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nContent-Range: 0-%d\r\n\r\n",
		strings.TrimPrefix(s.url, c.base), b.size, b.size-1)
	go func() {
		body := b.slice(0, b.size)
		if _, err := io.CopyN(conn, body, first); err != nil {
			return
		}
		between()
		// The server may stop reading the body. Then only its answer counts.
		_, _ = io.Copy(conn, body)
	}()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: body, err: err}
}

// TestReserve fills the disk up to storage.min_free during a push. The server must refuse this push
// and all others, and still serve requests that change only rows. When there is space again, it
// must accept uploads.
func TestReserve(t *testing.T) {
	const repo, mib = "team/app", 1 << 20
	d := newFullDisk(t, 64*mib)
	b := d.startOn("16MiB")
	s := newStorm(t, b.URL, stormSeed(t), 0)
	layer, loose := newContent(1, 4*mib, digest.SHA256), newContent(2, mib, digest.SHA256)
	for _, c := range []content{layer, loose} {
		if a := s.call.post(repo, c); a.status != http.StatusCreated {
			t.Fatalf("push: %v", a)
		}
	}
	up, a := s.call.open(repo, "")
	if a.status != http.StatusAccepted {
		t.Fatalf("POST: %v", a)
	}
	big := newContent(3, 24*mib, digest.SHA256)
	requireFull(t, patchWhile(t, s.call, up, big, 4*mib, func() { d.fill(17 * mib) }), "PATCH in the middle")

	d.fill(8 * mib)
	small := newContent(4, 100<<10, digest.SHA256)
	// The server looks at the free space every tenth of a second.
	poll(time.Minute, func() bool { a = s.call.post(repo, small); return a.status != http.StatusCreated })
	requireFull(t, a, "POST ?digest=")
	requireFull(t, s.call.patch(up, big, 0, 100<<10, true), "PATCH")
	if other, a := s.call.open(repo, ""); a.status == http.StatusAccepted {
		requireFull(t, s.call.put(other, small, 0), "PUT")
	} else {
		requireFull(t, a, "POST")
	}
	// Rows can still be written, and all content can be read.
	payload := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		ociManifest, ociConfig, layer.digest, layer.size)
	for _, r := range []struct {
		what string
		want int
		a    answer
	}{
		{"manifest by tag", http.StatusCreated, s.call.putManifest(repo, "v1", ociManifest, payload)},
		{"tag moved", http.StatusCreated, s.call.putManifest(repo, "v2", ociManifest, payload)},
		{"tag deleted", http.StatusAccepted, s.call.do(request{method: "DELETE", path: "/v2/" + repo + "/manifests/v2"})},
		{"blob deleted", http.StatusAccepted, s.call.do(request{method: "DELETE", path: "/v2/" + repo + "/blobs/" + loose.digest.String()})},
	} {
		if r.a.status != r.want {
			t.Errorf("%s beyond the reserve: %v, want %d", r.what, r.a, r.want)
		}
	}
	for _, p := range []place{{blobKind, repo, layer.digest.String()}, {tagKind, repo, "v1"}} {
		if value, wrong, err := s.call.read(p, ""); value == absent || wrong != "" || err != nil {
			t.Errorf("pull of %s beyond the reserve: %q %s %v", p, value, wrong, err)
		}
	}

	d.empty()
	n, a := s.call.received(up)
	if a.err != nil || a.status != http.StatusNoContent || n > big.size {
		t.Fatalf("the refused upload: %d bytes, %v", n, a)
	}
	if a := s.call.put(up, big, n); a.status != http.StatusCreated {
		t.Errorf("the refused upload, resumed at %d when there is room: %v", n, a)
	}
	if _, wrong, err := s.call.read(place{blobKind, repo, big.digest.String()}, ""); wrong != "" || err != nil {
		t.Errorf("the refused upload, read back: %s %v", wrong, err)
	}
	b.Stop()
	requireConsistent(t, filepath.Join(b.Data, "berth.db"), filepath.Join(b.Data, "blobs"))
}

// TestDiskFull lets the disk become full during a storm, with a reserve and without. Without a
// reserve, SQLite has no space either. Everything that was acknowledged must be readable, also
// while the disk is full. The same process must continue when there is space again.
func TestDiskFull(t *testing.T) {
	for _, minFree := range []string{"16MiB", "0"} {
		t.Run("min_free "+minFree, func(t *testing.T) {
			const mib = 1 << 20
			d := newFullDisk(t, 128*mib)
			d.fill(48 * mib)
			b := d.startOn(minFree)
			s := newStorm(t, b.URL, stormSeed(t), 1<<30)
			s.mayLoseUploads = true // a session may not be opened or not recorded
			s.failing.Store(true)
			runFor(s, 0, 4*time.Second)
			s.newRound()
			if minFree == "0" {
				d.fill(0)
				runFor(s, 1, 2*time.Second)
				s.newRound()
			}
			if a := s.call.post("a/b", newContent(1, 40*mib, digest.SHA256)); a.err == nil {
				requireFull(t, a, "a large POST ?digest=")
			}
			full := s.verify(s.list(-1))
			s.report("on the full disk")

			d.empty()
			s.failing.Store(false)
			s.budget.Store(0)
			runFor(s, 2, time.Second)
			s.newRound()
			after := s.verify(s.list(-1))
			s.report("with room again")
			b.Stop()
			requireConsistent(t, filepath.Join(b.Data, "berth.db"), filepath.Join(b.Data, "blobs"))
			full.add(after)
			t.Logf("%s; %d read back, %d lost, %d wrong", s.ledger, full.read, full.lost, full.wrong)
		})
	}
}

// runFor runs the storm for a time and lets its requests finish.
func runFor(s *storm, round int, d time.Duration) {
	time.AfterFunc(d, func() { s.stop.Store(true) })
	s.run(round)
}
