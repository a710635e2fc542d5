package server

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	logQueueBytes = 1 << 20
	flushBytes    = 64 << 10
	flushInterval = 200 * time.Millisecond

	// LastWords is how long the end of the process waits for standard error and the audit file.
	LastWords = 500 * time.Millisecond
)

// logQueue takes the lines of the log and writes them from one goroutine, which alone waits for
// the reader of standard error. It collects lines, because a system call for each would cost as
// much as a small request: it writes five times a second, when there are flushBytes, and on hurry.
//
// Lines that find the queue full are dropped and counted, and so are lines that cannot be written.
// The next write that succeeds begins with a line that tells how many. Once a line was dropped, all
// are until the goroutine takes those that wait: the log has one gap, not many.
type logQueue struct {
	gap     func(lines int) []byte // the line that tells of lines that are missing
	dropped prometheus.Counter
	hurried chan struct{} // has an element when lines are to be written now
	quit    chan struct{}
	once    sync.Once // closes quit
	done    chan struct{}

	mu      sync.Mutex
	waiting []byte // guarded by mu: whole lines
	spare   []byte // guarded by mu: empty, takes the next lines when waiting is taken
	writing int    // guarded by mu: bytes that were taken and are not yet written
	missed  int    // guarded by mu: lines dropped since waiting was last taken

	out  lineWriter // of the goroutine
	lost int        // of the goroutine: lines that are missing and not yet told of
}

func newLogQueue(to io.Writer, gap func(lines int) []byte) *logQueue {
	return &logQueue{
		gap: gap,
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_log_dropped_total",
			Help: "Lines that the log lacks, because it was not read in time or could not be written.",
		}),
		hurried: make(chan struct{}, 1),
		quit:    make(chan struct{}),
		done:    make(chan struct{}),
		waiting: make([]byte, 0, flushBytes),
		spare:   make([]byte, 0, flushBytes),
		out:     lineWriter{to: to},
	}
}

// Write takes one whole line, or drops it. It never waits and never fails.
func (q *logQueue) Write(line []byte) (int, error) {
	q.mu.Lock()
	before := len(q.waiting)
	fits := q.missed == 0 && q.writing+before+len(line) <= logQueueBytes
	if fits {
		q.waiting = append(q.waiting, line...)
	} else {
		q.missed++
	}
	enough := before < flushBytes && len(q.waiting) >= flushBytes
	q.mu.Unlock()
	if !fits {
		q.dropped.Inc()
	}
	if enough {
		q.hurry()
	}
	return len(line), nil
}

// hurry has the goroutine write now what waits. It does not wait for that.
func (q *logQueue) hurry() {
	select {
	case q.hurried <- struct{}{}:
	default:
	}
}

// run writes lines until the queue is closed and empty.
func (q *logQueue) run() {
	defer close(q.done)
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-q.hurried:
		case <-q.quit:
			for q.flush() {
			}
			return
		}
		q.flush()
	}
}

// flush writes what waits now. It reports whether there is more to write.
func (q *logQueue) flush() (more bool) {
	lines, missed := q.take()
	lost, err := q.writeOut(lines)
	q.dropped.Add(float64(lost))
	q.lost += lost + missed
	return q.release(lines) || err == nil && q.lost > 0
}

// writeOut writes lines, after one that tells of those that are missing before them. It returns
// how many it could not write.
func (q *logQueue) writeOut(lines []byte) (lost int, err error) {
	if q.lost > 0 {
		if _, err := q.out.write(q.gap(q.lost)); err != nil {
			return countLines(lines), err
		}
		q.lost = 0
	}
	if len(lines) == 0 {
		return 0, nil
	}
	return q.out.write(lines)
}

// take takes the lines that wait. missed is how many were dropped after them.
func (q *logQueue) take() (lines []byte, missed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, missed = q.waiting, q.missed
	q.waiting, q.missed, q.spare = q.spare, 0, nil
	q.writing = len(lines)
	return lines, missed
}

// release makes room for as much as was taken. It reports whether lines wait.
func (q *logQueue) release(lines []byte) (waiting bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing = 0
	if cap(lines) <= 4*flushBytes || len(lines) > flushBytes { // else it is of a burst that is over
		q.spare = lines[:0]
	}
	return len(q.waiting) > 0
}

// close has everything written that came before it, within LastWords. It may be called more than
// once, from any goroutine. Lines that come later are lost.
func (q *logQueue) close() {
	q.once.Do(func() { close(q.quit) })
	select {
	case <-q.done:
	case <-time.After(LastWords):
	}
}

// lineWriter writes lines. One that was written in part is ended before the next begins, so that a
// full disk costs the lines that found it full and no other.
type lineWriter struct {
	to   io.Writer
	torn bool
}

// write writes lines, and returns how many of them are not written whole.
func (w *lineWriter) write(lines []byte) (lost int, err error) {
	if w.torn {
		if _, err := w.to.Write([]byte("\n")); err != nil {
			return countLines(lines), err
		}
	}
	n, err := w.to.Write(lines)
	w.torn = 0 < n && n < len(lines) && lines[n-1] != '\n'
	return countLines(lines[n:]), err
}

func countLines(lines []byte) int { return bytes.Count(lines, []byte("\n")) }
