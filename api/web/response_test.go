package web

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is a ResponseWriter that records what its ReadFrom gets.
type recorder struct {
	header http.Header
	took   []int64 // bytes accepted of each piece, the last for all further ones; -1 for all bytes
	err    error   // returned with a piece that is not accepted whole
	files  int
	body   strings.Builder
}

func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return 0, fmt.Errorf("got a %T", src)
	}
	if _, ok := limited.R.(*os.File); ok {
		r.files++
	}
	n := r.took[0]
	if len(r.took) > 1 {
		r.took = r.took[1:]
	}
	if n < 0 {
		return io.Copy(&r.body, src)
	}
	// As without sendfile, more is read than is sent.
	taken, err := io.ReadAll(src)
	if err != nil {
		return 0, err
	}
	taken = taken[:min(n, int64(len(taken)))]
	r.body.Write(taken)
	return int64(len(taken)), r.err
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}

func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func newFile(t *testing.T, content string) *os.File {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := io.WriteString(f, content); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

func newResponse(inner http.ResponseWriter) *Response {
	return &Response{
		inner: inner, control: http.NewResponseController(inner), timeout: time.Hour,
		buffers: &sync.Pool{New: func() any { return new([copyBuffer]byte) }},
	}
}

// TestSendfile checks that net/http's own ReadFrom gets an *os.File, in pieces.
func TestSendfile(t *testing.T) {
	content := strings.Repeat("0123456789", 2_000_000)
	r := &recorder{header: make(http.Header), took: []int64{-1}}
	n, err := io.CopyN(newResponse(r), newFile(t, content), int64(len(content)))
	if n != int64(len(content)) || err != nil || r.body.String() != content {
		t.Errorf("%d bytes: %v", n, err)
	}
	if r.files < 3 {
		t.Errorf("the file was seen %d times, want one for each piece", r.files)
	}
}

// TestShortFile sends a file that is shorter than the header declared. The answer is incomplete.
func TestShortFile(t *testing.T) {
	w := newResponse(&recorder{header: make(http.Header), took: []int64{-1}})
	w.Header().Set("Content-Length", "100")
	w.WriteHeader(http.StatusOK)
	if n, err := io.CopyN(w, newFile(t, "too short"), 100); n != 9 || err != io.EOF || !w.short() {
		t.Errorf("of a file that is too short %d bytes were sent: %v; short: %v", n, err, w.short())
	}
}

// TestSlowReader has clients that accept less than a whole piece before the deadline. Those that
// accept something get the whole file, byte for byte.
func TestSlowReader(t *testing.T) {
	content := strings.Repeat("0123456789abcdef", 200_000)
	r := &recorder{
		header: make(http.Header),
		took:   []int64{1, 100_000, 3, -1, 7, 50_001, -1, 1, -1},
		err:    fmt.Errorf("write: %w", os.ErrDeadlineExceeded),
	}
	n, err := io.CopyN(newResponse(r), newFile(t, content), int64(len(content)))
	if n != int64(len(content)) || err != nil || r.body.String() != content {
		t.Errorf("%d bytes of %d: %v", n, len(content), err)
	}

	r = &recorder{header: make(http.Header), took: []int64{500, 0}, err: os.ErrDeadlineExceeded}
	if n, err := io.CopyN(newResponse(r), newFile(t, content), int64(len(content))); n != 500 || err == nil {
		t.Errorf("a client that takes no more got %d bytes: %v", n, err)
	}
	r = &recorder{header: make(http.Header), took: []int64{500}, err: io.ErrClosedPipe}
	if n, err := io.CopyN(newResponse(r), newFile(t, content), int64(len(content))); n != 500 || err == nil {
		t.Errorf("a client that is gone got %d bytes: %v", n, err)
	}
}

func TestPieces(t *testing.T) {
	w := &Response{timeout: time.Minute}
	size := int64(firstPiece)
	for range 10 {
		size = w.nextPiece(size, time.Second)
	}
	if size != maxPiece {
		t.Errorf("for a fast client a piece grows to %d, want %d", size, maxPiece)
	}
	if got := w.nextPiece(size, 10*time.Second); got != size {
		t.Errorf("a piece that took 10 s goes from %d to %d", size, got)
	}
	for range 10 {
		size = w.nextPiece(size, 20*time.Second)
	}
	if size != minPiece {
		t.Errorf("for a slow client a piece shrinks to %d, want %d", size, minPiece)
	}
}
