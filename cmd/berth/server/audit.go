package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/api"
)

const (
	// auditLines is how many lines may wait for the audit file. Each takes some hundred bytes, and
	// a few KiB with the longest names there are.
	auditLines = 1024
	// auditWait is how long a request waits for room for its line, and a reload for the file.
	auditWait = time.Second
)

// auditFile is a file to which lines are added, an api.Auditor. One goroutine writes them, each
// with one write of its own, so that none is torn by a rotation; it alone waits for the file.
//
//	Reserve → a place → Write → entries → the goroutine → the file, and the place is free
//	                  → Release
type auditFile struct {
	path    string
	log     *slog.Logger // of the program
	dropped prometheus.Counter
	handler slog.Handler // makes an entry of a record

	places  chan struct{}   // has an element for each line that is reserved or not yet written
	entries chan auditEntry // has room for a line of each place, and for one opening
	opening chan error      // of the caller of reopen: the opening that was not done in time
	quit    chan struct{}
	done    chan error // has the error of closing the file, when the goroutine has ended

	file   *os.File   // of the goroutine
	out    lineWriter // of the goroutine: writes to file
	failed bool       // of the goroutine: the last write did, which was logged
}

// auditEntry is a line to be written, or asks for the file to be opened anew.
type auditEntry struct {
	line   []byte
	opened chan<- error
}

// auditSink makes entries of the lines that a slog.Handler writes. Each has a place, so that
// sending does not wait.
type auditSink chan<- auditEntry

func (s auditSink) Write(line []byte) (int, error) {
	s <- auditEntry{line: bytes.Clone(line)}
	return len(line), nil
}

// startAudit opens the file and starts the goroutine of its lines. The caller closes it.
func startAudit(path string, log *slog.Logger) (*auditFile, error) {
	a := newAuditFile(path, log)
	if err := a.open(); err != nil {
		return nil, err
	}
	go a.run()
	return a, nil
}

func newAuditFile(path string, log *slog.Logger) *auditFile {
	entries := make(chan auditEntry, auditLines+1)
	return &auditFile{
		path: path,
		log:  log,
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "berth_audit_dropped_total",
			Help: "Lines that the file of the audit lacks, because it took none in time or could not be written.",
		}),
		handler: slog.NewJSONHandler(auditSink(entries), nil),
		places:  make(chan struct{}, auditLines),
		entries: entries,
		quit:    make(chan struct{}),
		done:    make(chan error, 1),
	}
}

// Reserve takes a place for one line, if need be after waiting for auditWait.
func (a *auditFile) Reserve(ctx context.Context) error {
	select {
	case a.places <- struct{}{}:
		return nil
	default:
	}
	timeout := time.NewTimer(auditWait)
	defer timeout.Stop()
	select {
	case a.places <- struct{}{}:
		return nil
	case <-timeout.C:
		return api.ErrAuditFull
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release gives back a place.
func (a *auditFile) Release() { <-a.places }

// Write hands a line to the goroutine, in a place that Reserve took.
func (a *auditFile) Write(line slog.Record) {
	_ = a.handler.Handle(context.Background(), line) // auditSink takes every line
}

// Drop counts a line that was given up.
func (a *auditFile) Drop() { a.dropped.Inc() }

// run does what the entries ask for, until the file is closed.
func (a *auditFile) run() {
	for {
		select {
		case e := <-a.entries:
			a.do(e)
		case <-a.quit:
			for len(a.entries) > 0 {
				a.do(<-a.entries)
			}
			a.done <- a.file.Close()
			return
		}
	}
}

func (a *auditFile) do(e auditEntry) {
	if e.opened != nil {
		e.opened <- a.open()
		return
	}
	a.add(e.line)
	a.Release()
}

// add writes a line. What cannot be written is told in the log once, until a line is written again.
func (a *auditFile) add(line []byte) {
	_, err := a.out.write(line)
	if err != nil {
		a.Drop()
		if !a.failed {
			a.log.Error("the audit file cannot be written and lacks lines from here on", "error", err)
		}
	}
	a.failed = err != nil
}

// open goes on in the file that has the path now, which it makes for the program's user alone if
// there is none. When it cannot be opened the old file stays.
func (a *auditFile) open() error {
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	old := a.file
	a.file, a.out, a.failed = f, lineWriter{to: f}, false
	if old == nil {
		return nil
	}
	return old.Close()
}

// reopen goes on in the file that has the path now, as after a rotation, when the lines that came
// before are in the old one. It waits for auditWait, and must not be called by two at once.
func (a *auditFile) reopen() error {
	if a.opening == nil {
		a.opening = make(chan error, 1)
		a.entries <- auditEntry{opened: a.opening}
	}
	select {
	case err := <-a.opening:
		a.opening = nil
		return err
	case <-time.After(auditWait):
		return errors.New("audit.file: the old file has not taken its last lines yet; the new one is opened when it has")
	}
}

// close has the lines written that came before it, within LastWords.
func (a *auditFile) close() error {
	close(a.quit)
	select {
	case err := <-a.done:
		return err
	case <-time.After(LastWords):
		a.log.Error("the audit file does not take its last lines, which it lacks", "lines", len(a.places))
		return nil
	}
}

// openAudit opens the file of audit.file.
func (s *server) openAudit(context.Context) error {
	if s.cfg.Audit.File == "" {
		return nil
	}
	file, err := startAudit(s.cfg.Audit.File, s.log)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, file.close)
	s.parts = append(s.parts, []prometheus.Collector{file.dropped})
	s.audit = file
	s.watcher.add(&watched{name: "audit.file", reload: file.reopen}) // on SIGHUP only
	return nil
}
