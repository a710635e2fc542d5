package web

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	// copyBuffer is the size of the buffers for bodies that are not files.
	copyBuffer = 64 << 10
	// A file is sent in pieces, each with a write deadline of its own. The size of a piece adapts
	// to the client, so that a slow client completes several pieces in the time after which a dead
	// one is given up.
	minPiece   = 64 << 10
	firstPiece = 512 << 10
	maxPiece   = 8 << 20
)

// statusClientGone is the status in logs and metrics if the client left before the answer.
const statusClientGone = 499

// errShort reports an answer with a shorter body than its header declared.
var errShort = errors.New("the body ended early")

// Response is the http.ResponseWriter of an Exchange. It counts bytes, and moves the connection's
// write deadline with the bytes that the client accepts. It implements io.ReaderFrom, so that files
// are sent by sendfile.
type Response struct {
	inner   http.ResponseWriter
	control *http.ResponseController
	buffers *sync.Pool
	timeout time.Duration
	head    bool // the method is HEAD: no body is sent

	beforeHeader func() // nil if the request has no body, and on HTTP/2

	status      int   // 0 before WriteHeader
	declared    int64 // the Content-Length; -1 if there is none
	sent        int64 // bytes of the body
	deadlineSet time.Time
	err         error // why the answer is cut
}

// Header implements http.ResponseWriter.
func (w *Response) Header() http.Header { return w.inner.Header() }

// Status returns the status of the answer; 0 before WriteHeader.
func (w *Response) Status() int { return w.status }

// Sent returns the number of bytes of the body that were sent.
func (w *Response) Sent() int64 { return w.sent }

// Head reports whether the request's method is HEAD, so that no body is sent.
func (w *Response) Head() bool { return w.head }

// Fail records why the answer is incomplete. Its connection is then cut, so that the client does
// not take the answer for a complete one.
func (w *Response) Fail(err error) { w.err = err }

// ClientGone records that the client left before it got an answer. The status becomes 499, which is
// only logged and counted.
func (w *Response) ClientGone(err error) { w.status, w.err = statusClientGone, err }

// Err returns why the answer is incomplete, or nil.
func (w *Response) Err() error {
	if w.err == nil && w.short() {
		return errShort
	}
	return w.err
}

// FlushError sends the buffered bytes. http.ResponseController calls it.
func (w *Response) FlushError() error { return w.control.Flush() }

// Unwrap returns the wrapped ResponseWriter, for http.ResponseController.
func (w *Response) Unwrap() http.ResponseWriter { return w.inner }

// WriteHeader implements http.ResponseWriter. All calls after the first are ignored.
func (w *Response) WriteHeader(status int) {
	if w.status != 0 {
		return
	}
	w.extend(time.Now())
	w.status, w.declared = status, -1
	if s := w.Header().Get("Content-Length"); s != "" {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			w.declared = n
		}
	}
	if w.beforeHeader != nil {
		w.beforeHeader()
	}
	w.inner.WriteHeader(status)
}

// bodyLength returns the length of the body that the header declares; -1 if it declares none.
func (w *Response) bodyLength() int64 {
	if w.head || w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0
	}
	return w.declared
}

// Write sends p in pieces small enough for a slow client to accept within the timeout.
func (w *Response) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	written := 0
	for {
		piece := p[written:min(len(p), written+copyBuffer)]
		w.extend(time.Now())
		n, err := w.inner.Write(piece)
		written += n
		w.count(int64(n))
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// ReadFrom sends src. An *os.File in an io.LimitedReader, as http.ServeContent and io.CopyN pass
// it, is sent by sendfile if the system has it.
func (w *Response) ReadFrom(src io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if limited, ok := src.(*io.LimitedReader); ok {
		if file, ok := limited.R.(*os.File); ok {
			if to, ok := w.inner.(io.ReaderFrom); ok {
				return w.sendFile(to, file, limited)
			}
		}
	}
	buf := w.buffers.Get().(*[copyBuffer]byte)
	defer w.buffers.Put(buf)
	return io.CopyBuffer(writerOnly{w}, src, buf[:])
}

// writerOnly hides ReadFrom, which io.CopyBuffer would call again.
type writerOnly struct{ io.Writer }

// sendFile sends limited.N bytes of file. If the client accepted only a part of a piece before the
// deadline it is slow, and the rest is sent in further pieces. If it accepted nothing it is gone.
func (w *Response) sendFile(to io.ReaderFrom, file *os.File, limited *io.LimitedReader) (sent int64, err error) {
	size := int64(firstPiece)
	for limited.N > 0 {
		began := time.Now()
		w.extend(began)
		// net/http uses sendfile only for a file in exactly one LimitedReader.
		want := min(size, limited.N)
		piece := io.LimitedReader{R: file, N: want}
		n, err := to.ReadFrom(&piece)
		sent += n
		limited.N -= n
		w.count(n)
		switch {
		case err != nil && (n == 0 || !errors.Is(err, os.ErrDeadlineExceeded)):
			return sent, err
		case err != nil:
			w.deadlineSet = time.Time{}
			// Without sendfile more may have been read than was sent.
			if ahead := (want - piece.N) - n; ahead > 0 {
				if _, err := file.Seek(-ahead, io.SeekCurrent); err != nil {
					return sent, err
				}
			}
		case n < want:
			return sent, nil // the file is shorter than expected
		}
		size = w.nextPiece(size, time.Since(began))
	}
	return sent, nil
}

// nextPiece returns the size of the next piece, given the size of the last one and the time that it
// took. A TLS connection is unusable once a write deadline has passed, so pieces shrink before
// that.
func (w *Response) nextPiece(size int64, took time.Duration) int64 {
	switch {
	case took > w.timeout/4:
		return max(size/4, minPiece)
	case took < w.timeout/16:
		return min(size*2, maxPiece)
	}
	return size
}

// extend moves the write deadline when that is due. A connection without deadlines was not made by
// Server.HTTP; its owner has to guard it.
func (w *Response) extend(now time.Time) {
	if deadlineDue(w.deadlineSet, now, w.timeout) {
		w.deadlineSet = now
		_ = w.control.SetWriteDeadline(now.Add(w.timeout))
	}
}

func (w *Response) count(n int64) {
	if !w.head {
		w.sent += n
	}
}

// short reports whether less of the body was sent than the header declared.
func (w *Response) short() bool {
	return !w.head && w.declared > w.sent && w.status != http.StatusNotModified
}
