package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slowUpload is a PATCH on a raw connection. The test sends its body in pieces and so decides how
// much of it the server can have.
type slowUpload struct {
	t        *testing.T
	p        *program
	conn     net.Conn
	location string
}

// beginUpload opens an upload session and sends the header of a PATCH with a body of length bytes.
func beginUpload(t *testing.T, p *program, length int) *slowUpload {
	t.Helper()
	status, header, answer := p.request("POST", "/v2/app/blobs/uploads/", nil)
	if status != http.StatusAccepted {
		t.Fatalf("POST: %d %s", status, answer)
	}
	conn, err := net.Dial("tcp", p.line.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	u := &slowUpload{t, p, conn, header.Get("Location")}
	u.send(fmt.Appendf(nil, "PATCH %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n", u.location, length))
	return u
}

func (u *slowUpload) send(b []byte) {
	u.t.Helper()
	if _, err := u.conn.Write(b); err != nil {
		u.t.Fatal(err)
	}
}

// awaitStored waits until the server has written part of the body to the bucket, which has no other
// object of that size.
func (u *slowUpload) awaitStored() {
	u.t.Helper()
	u.p.await("bytes in the bucket", func() bool { return hasLargeObject(u.p.line.Data) })
}

// hasLargeObject reports whether the bucket in a data directory has an object of 64 KiB or more.
func hasLargeObject(data string) bool {
	found := false
	err := filepath.WalkDir(filepath.Join(data, "blobs", "content"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil && info.Size() >= 64<<10 {
				found = true
			}
		}
		return nil // a file may be deleted during the walk
	})
	return err == nil && found
}

func (u *slowUpload) answer() *http.Response {
	u.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(u.conn), nil)
	if err != nil {
		u.t.Fatal(err)
	}
	return resp
}

// awaitRefusal waits until the server's address refuses connections.
func (p *program) awaitRefusal() {
	p.t.Helper()
	p.await("the end of listening", func() bool {
		conn, err := net.Dial("tcp", p.line.Addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// TestStopRecordsUploads: an upload that does not finish in time is cut. What arrived is recorded,
// and the upload continues after the restart.
func TestStopRecordsUploads(t *testing.T) {
	t.Parallel()
	data := newData(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	p := serve(t, data, nil, "--shutdown-grace", "50ms", "--shutdown-record", "1h")
	u := beginUpload(t, p, len(content))
	u.send(content[:3*len(content)/4])
	u.awaitStored()
	p.signal(syscall.SIGTERM)
	p.awaitExit(0)
	if !strings.Contains(p.log.String(), "uploads record what arrived") || strings.Contains(p.log.String(), "are cut") {
		t.Error("the log does not say so")
	}

	p = serve(t, data, nil)
	status, header, answer := p.request("GET", u.location, nil)
	var end int
	if _, err := fmt.Sscanf(header.Get("Range"), "0-%d", &end); err != nil || status != http.StatusNoContent || end == 0 || end >= 3*len(content)/4 {
		t.Fatalf("session after the restart: %d %s, Range %q", status, answer, header.Get("Range"))
	}
	status, _, answer = p.request("PUT", u.location+"?digest="+digestOf(content), content[end+1:],
		"Content-Type", "application/octet-stream", "Content-Range", fmt.Sprintf("%d-%d", end+1, len(content)-1))
	if status != http.StatusCreated {
		t.Fatalf("closing PUT: %d %s", status, answer)
	}
	if _, _, got := p.request("GET", "/v2/app/blobs/"+digestOf(content), nil); !bytes.Equal(got, content) {
		t.Errorf("%d bytes come back, not those that were sent", len(got))
	}
	p.stop()
}

// TestStopLetsRequestsFinish: a request that finishes in time gets its answer, while new
// connections are refused.
func TestStopLetsRequestsFinish(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil, "--shutdown-grace", "1h")
	content := bytes.Repeat([]byte("x"), 1<<20)
	u := beginUpload(t, p, len(content))
	u.send(content[:len(content)/2])
	u.awaitStored()
	p.signal(syscall.SIGTERM)
	p.awaitRefusal()
	u.send(content[len(content)/2:])
	if resp := u.answer(); resp.StatusCode != http.StatusAccepted || resp.Header.Get("Range") != fmt.Sprintf("0-%d", len(content)-1) {
		t.Errorf("%s, Range %q", resp.Status, resp.Header.Get("Range"))
	}
	p.awaitExit(0)
}

// TestStopDoesNotLinger: a stop does not wait for the body of a request that is already answered.
func TestStopDoesNotLinger(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil, "--http-linger-time", "1h", "--shutdown-grace", "1h")
	conn, err := net.Dial("tcp", p.line.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	u := &slowUpload{t: t, p: p, conn: conn}
	u.send([]byte("PUT /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n"))
	if resp := u.answer(); resp.StatusCode != http.StatusNotFound {
		t.Fatalf("answered %s", resp.Status)
	}
	go func() {
		for { // a byte now and then keeps the lingering alive
			if _, err := conn.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	p.signal(syscall.SIGTERM)
	p.awaitExit(0)
}

// TestStopCutsWhatDoesNotEnd: each step of a stop has a limit.
func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil, "--shutdown-grace", "0s", "--shutdown-record", "0s")
	u := beginUpload(t, p, 1<<20)
	u.send(make([]byte, 1<<19))
	u.awaitStored()
	p.stop()
}

// TestStopClosesIdleConnections: an idle connection does not delay the stop.
func TestStopClosesIdleConnections(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil, "--shutdown-grace", "1h")
	conn, err := net.Dial("tcp", p.line.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Close {
		t.Fatalf("%v %v", resp, err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	p.stop()
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("the connection ended with %v", err)
	}
}

// TestDelayServesOn: during shutdown.delay the server is not ready, but serves all requests.
func TestDelayServesOn(t *testing.T) {
	t.Parallel()
	p := serve(t, newData(t), nil, "--shutdown-delay", "1h")
	p.signal(syscall.SIGTERM)
	p.await("not ready", func() bool {
		status, _, _ := p.request("GET", "/readyz", nil)
		return status == http.StatusServiceUnavailable
	})
	if _, err := pushImage(p.url, "app", "late", []byte("layer")); err != nil {
		t.Error(err)
	}
	p.signal(syscall.SIGINT)
	p.awaitExit(1)
	if !strings.Contains(p.log.String(), "a second signal: exit at once") {
		t.Error("the last words are not in the log")
	}
}

// TestSecondSignal: a second signal ends a stop that waits for a request. After the restart,
// everything that was acknowledged is there.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	data := newData(t)
	p := serve(t, data, nil, "--shutdown-grace", "1h")
	layer := []byte("layer")
	manifest, err := pushImage(p.url, "app", "1", layer)
	if err != nil {
		t.Fatal(err)
	}
	u := beginUpload(t, p, 1<<20)
	u.send(make([]byte, 1<<19))
	u.awaitStored()
	p.signal(syscall.SIGINT)
	p.awaitRefusal()
	p.signal(syscall.SIGTERM)
	p.awaitExit(1)

	p = serve(t, data, nil)
	if err := pullImage(p.url, "app", "1", manifest, layer); err != nil {
		t.Error(err)
	}
	if !strings.Contains(p.log.String(), "unfinished objects of an earlier run") {
		t.Error("the half body of the first run was not released")
	}
	p.await("the deletion of the half body", func() bool { return !hasLargeObject(p.line.Data) })
	p.stop()
}

// TestServiceManagerIsTold is the protocol of sd_notify(3).
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Skipf("no datagram sockets in the file system: %v", err)
	}
	defer manager.Close()
	state := func() string {
		t.Helper()
		if err := manager.SetReadDeadline(time.Now().Add(commandTimeout)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 100)
		n, err := manager.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	p := serve(t, t.TempDir(), []string{"NOTIFY_SOCKET=" + path})
	if got := state(); got != "READY=1" {
		t.Errorf("at the start: %q", got)
	}
	p.stop()
	if got := state(); got != "STOPPING=1" {
		t.Errorf("at the stop: %q", got)
	}
}
