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
	// auditLines is how many lines may wait for the audit file. A line takes some hundred bytes, or
	// a few KiB with the longest names.
	auditLines = 1024
	// auditWait is how long a request waits for a slot, and how long a reload waits for the file.
	auditWait = time.Second
)

// auditFile appends lines to a file. It is an api.Auditor. One goroutine writes the lines, each
// with one write call, so that a rotation tears none. Only this goroutine waits for the file.
//
//	Reserve → a slot → Write → entries → the goroutine → the file, and the slot is free
//	                 → Release
type auditFile struct {
	path    string
	log     *slog.Logger // of the program
	dropped prometheus.Counter
	handler slog.Handler // turns a record into an entry

	slots     chan struct{}   // has an element for each line that is reserved or not yet written
	entries   chan auditEntry // has room for a line of each slot, and for one reopening
	reopening chan error      // of the caller of reopen: result of a reopening that took longer than auditWait
	quit      chan struct{}
	done      chan error // gets the error of closing the file when the goroutine ends

	file   *os.File   // of the goroutine
	out    lineWriter // of the goroutine: writes to file
	failed bool       // of the goroutine: the last write failed, and that is logged
}

// auditEntry is a line to write or, if reopened is set, a request to open the file again.
type auditEntry struct {
	line     []byte
	reopened chan<- error
}

// auditSink sends the lines that a slog.Handler writes as entries. It does not block, because each
// line has a slot.
type auditSink chan<- auditEntry

func (s auditSink) Write(line []byte) (int, error) {
	s <- auditEntry{line: bytes.Clone(line)}
	return len(line), nil
}

// startAudit opens the file and starts the goroutine that writes it. The caller closes it.
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
		handler: newJSONHandler(auditSink(entries), slog.LevelInfo),
		slots:   make(chan struct{}, auditLines),
		entries: entries,
		quit:    make(chan struct{}),
		done:    make(chan error, 1),
	}
}

// Reserve takes a slot for one line. It waits for one for up to auditWait and then returns
// api.ErrAuditFull.
func (a *auditFile) Reserve(ctx context.Context) error {
	select {
	case a.slots <- struct{}{}:
		return nil
	default:
	}
	timeout := time.NewTimer(auditWait)
	defer timeout.Stop()
	select {
	case a.slots <- struct{}{}:
		return nil
	case <-timeout.C:
		return api.ErrAuditFull
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Release gives a slot back.
func (a *auditFile) Release() { <-a.slots }

// Write queues a line, in a slot that Reserve took.
func (a *auditFile) Write(line slog.Record) {
	_ = a.handler.Handle(context.Background(), line) // auditSink accepts every line
}

// Drop counts a line that is lost.
func (a *auditFile) Drop() { a.dropped.Inc() }

// run processes entries until the file is closed.
func (a *auditFile) run() {
	for {
		select {
		case e := <-a.entries:
			a.process(e)
		case <-a.quit:
			for len(a.entries) > 0 {
				a.process(<-a.entries)
			}
			a.done <- a.file.Close()
			return
		}
	}
}

func (a *auditFile) process(e auditEntry) {
	if e.reopened != nil {
		e.reopened <- a.open()
		return
	}
	a.writeLine(e.line)
	a.Release()
}

// writeLine writes a line. A failure is logged once, until a write succeeds again.
func (a *auditFile) writeLine(line []byte) {
	_, err := a.out.write(line)
	if err != nil {
		a.Drop()
		if !a.failed {
			a.log.Error("the audit file cannot be written and lacks lines from here on", "error", err)
		}
	}
	a.failed = err != nil
}

// open switches to the file that is at the path now. If there is none it creates one that only the
// user of the process can read. If it fails, the old file stays in use.
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

// reopen switches to the file that is at the path now, for example after a rotation. Lines that
// were queued before go to the old file. It waits for up to auditWait. It is not safe for
// concurrent use.
func (a *auditFile) reopen() error {
	if a.reopening == nil {
		a.reopening = make(chan error, 1)
		a.entries <- auditEntry{reopened: a.reopening}
	}
	select {
	case err := <-a.reopening:
		a.reopening = nil
		return err
	case <-time.After(auditWait):
		return errors.New("audit.file: the old file has not taken its last lines yet; the new one is opened when it has")
	}
}

// close waits for up to ExitTimeout until all queued lines are written.
func (a *auditFile) close() error {
	close(a.quit)
	select {
	case err := <-a.done:
		return err
	case <-time.After(ExitTimeout):
		a.log.Error("the audit file does not take its last lines, which it lacks", "lines", len(a.slots))
		return nil
	}
}

// openAudit opens the file of audit.file, if it is set.
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
	s.watcher.add(&watchedFiles{name: "audit.file", reload: file.reopen}) // on SIGHUP only
	return nil
}
