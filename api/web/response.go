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
	// copyBuffer is the size of the buffers through which bodies go that are
	// no files.
	copyBuffer = 64 << 10
	// Files go in pieces, each under a write deadline of its own. The size of
	// a piece follows the client, so that one that is slow but alive takes
	// many within the time that a dead one is given for one.
	minPiece   = 64 << 10
	firstPiece = 512 << 10
	maxPiece   = 8 << 20
)

// statusGone is what logs and metrics have where the client left first.
const statusClientGone = 499

// errShort is why an answer is cut that has less of a body than its header promised.
var errShort = errors.New("the body ended early")

// Response is the ResponseWriter that handlers see. It counts, and moves the
// connection's write deadline with the bytes that the client takes. It is an
// io.ReaderFrom, so that files leave by sendfile.
type Response struct {
	inner   http.ResponseWriter
	control *http.ResponseController
	buffers *sync.Pool
	timeout time.Duration
	head    bool // the request's method is HEAD: no body is sent

	beforeHeader func() // called before the header is written; nil without a body, and on HTTP/2

	status      int   // 0 until the header is written
	declared    int64 // the Content-Length; -1 for none
	sent        int64 // bytes of body
	deadlineSet time.Time
	err         error // why the answer had to be broken off
}

// Header returns the header fields that WriteHeader will send.
func (w *Response) Header() http.Header { return w.inner.Header() }

// Status returns the status of the answer, 0 until its header is written.
func (w *Response) Status() int { return w.status }

// Sent returns how many bytes of body were sent.
func (w *Response) Sent() int64 { return w.sent }

// Head reports whether the request's method is HEAD: no body is sent.
func (w *Response) Head() bool { return w.head }

// Fail notes why the answer has to be broken off: its connection is cut, so that the client does
// not take it for whole.
func (w *Response) Fail(err error) { w.err = err }

// Gone notes that the client left before there was an answer, which then is none: its status is
// 499.
func (w *Response) ClientGone(err error) { w.status, w.err = statusClientGone, err }

// Cut returns why the answer is not whole, or will not be; nil for one that is.
func (w *Response) Err() error {
	if w.err == nil && w.short() {
		return errShort
	}
	return w.err
}

// FlushError sends what was written. It is what http.ResponseController calls.
func (w *Response) FlushError() error { return w.control.Flush() }

// Unwrap is for http.ResponseController.
func (w *Response) Unwrap() http.ResponseWriter { return w.inner }

// WriteHeader sends the header, once.
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

// promised returns how many bytes of body the header promises; -1 where it does
// not say.
func (w *Response) bodyLength() int64 {
	if w.head || w.status == http.StatusNoContent || w.status == http.StatusNotModified {
		return 0
	}
	return w.declared
}

// Write sends p in pieces that a slow client takes within the timeout.
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

// ReadFrom sends src. A file, which may be under one io.LimitedReader as
// http.ServeContent has it, goes by sendfile where the system has that.
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

// writerOnly hides ReadFrom, which would be called again.
type writerOnly struct{ io.Writer }

// sendFile sends what limited leaves of file. A client that took some of a
// piece but not all of it in time is slow, and gets the rest of it; one that
// took nothing is gone.
func (w *Response) sendFile(to io.ReaderFrom, file *os.File, limited *io.LimitedReader) (sent int64, err error) {
	size := int64(firstPiece)
	for limited.N > 0 {
		began := time.Now()
		w.extend(began)
		// The server looks for a file under exactly one LimitedReader.
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
			// Where there is no sendfile, more may have been read than was sent.
			if ahead := (want - piece.N) - n; ahead > 0 {
				if _, err := file.Seek(-ahead, io.SeekCurrent); err != nil {
					return sent, err
				}
			}
		case n < want:
			return sent, nil // the file is shorter than it should be
		}
		size = w.nextPiece(size, time.Since(began))
	}
	return sent, nil
}

// nextPiece is the size of the piece that follows one of this size which took
// so long. Connections that are encrypted cannot go on after a deadline, so it
// has to shrink before one is reached.
func (w *Response) nextPiece(size int64, took time.Duration) int64 {
	switch {
	case took > w.timeout/4:
		return max(size/4, minPiece)
	case took < w.timeout/16:
		return min(size*2, maxPiece)
	}
	return size
}

// extend moves the write deadline, now and then. A connection that has none is
// not one of Server's, and is its maker's to guard.
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

// short reports whether less of the body was sent than its header promised.
func (w *Response) short() bool {
	return !w.head && w.declared > w.sent && w.status != http.StatusNotModified
}
