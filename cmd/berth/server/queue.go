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

	// ExitTimeout is how long the process waits at its end for standard error and for the audit
	// file.
	ExitTimeout = 500 * time.Millisecond
)

// logQueue queues the lines of the log. One goroutine writes them, and only this goroutine waits
// for the reader of standard error. It writes many lines with one system call, because a call for
// each line would cost as much as a small request: every flushInterval, when flushBytes are queued,
// and on flushSoon.
//
// Lines are dropped and counted when the queue is full and when they cannot be written. The next
// successful write begins with a line that has their number. After one line was dropped, all are
// dropped until the goroutine takes the queued lines, so that the log has one gap instead of many.
type logQueue struct {
	gapLine  func(lines int) []byte // returns the line that stands for missing lines
	dropped  prometheus.Counter
	flushNow chan struct{} // has an element when the queue is to be written now
	quit     chan struct{}
	once     sync.Once // closes quit
	done     chan struct{}

	mu      sync.Mutex
	waiting []byte // guarded by mu: whole lines
	spare   []byte // guarded by mu: empty buffer that replaces waiting
	writing int    // guarded by mu: bytes that were taken and are not written yet
	missed  int    // guarded by mu: lines dropped since waiting was last taken

	out  lineWriter // of the goroutine
	lost int        // of the goroutine: missing lines that are not yet reported in the log
}

func newLogQueue(to io.Writer, gap func(lines int) []byte) *logQueue {
	return &logQueue{
		gapLine: gap,
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_log_dropped_total",
			Help: "Lines that the log lacks, because it was not read in time or could not be written.",
		}),
		flushNow: make(chan struct{}, 1),
		quit:     make(chan struct{}),
		done:     make(chan struct{}),
		waiting:  make([]byte, 0, flushBytes),
		spare:    make([]byte, 0, flushBytes),
		out:      lineWriter{to: to},
	}
}

// Write queues one whole line, or drops it. It never blocks and never fails.
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
		q.flushSoon()
	}
	return len(line), nil
}

// flushSoon makes the goroutine write the queue now. It does not wait for the write.
func (q *logQueue) flushSoon() {
	select {
	case q.flushNow <- struct{}{}:
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
		case <-q.flushNow:
		case <-q.quit:
			for q.flush() {
			}
			return
		}
		q.flush()
	}
}

// flush writes the queued lines. It reports whether there is more to write.
func (q *logQueue) flush() (more bool) {
	lines, missed := q.take()
	lost, err := q.writeOut(lines)
	q.dropped.Add(float64(lost))
	q.lost += lost + missed
	return q.release(lines) || err == nil && q.lost > 0
}

// writeOut writes lines, after a gap line if lines before them are missing. It returns how many it
// could not write.
func (q *logQueue) writeOut(lines []byte) (lost int, err error) {
	if q.lost > 0 {
		if _, err := q.out.write(q.gapLine(q.lost)); err != nil {
			return countLines(lines), err
		}
		q.lost = 0
	}
	if len(lines) == 0 {
		return 0, nil
	}
	return q.out.write(lines)
}

// take takes the queued lines. missed is how many were dropped after them.
func (q *logQueue) take() (lines []byte, missed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, missed = q.waiting, q.missed
	q.waiting, q.missed, q.spare = q.spare, 0, nil
	q.writing = len(lines)
	return lines, missed
}

// release ends the write of lines that take returned. It reports whether more lines are queued.
func (q *logQueue) release(lines []byte) (waiting bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing = 0
	if cap(lines) <= 4*flushBytes || len(lines) > flushBytes { // do not keep the large buffer of a burst
		q.spare = lines[:0]
	}
	return len(q.waiting) > 0
}

// close waits for up to ExitTimeout until all queued lines are written. Later lines are lost. It
// may be called more than once, from any goroutine.
func (q *logQueue) close() {
	q.once.Do(func() { close(q.quit) })
	select {
	case <-q.done:
	case <-time.After(ExitTimeout):
	}
}

// lineWriter writes lines. If a line was written only in part, the next write ends it first. A full
// disk therefore costs only the lines that could not be written whole.
type lineWriter struct {
	to   io.Writer
	torn bool
}

// write writes lines. It returns how many of them were not written whole.
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
