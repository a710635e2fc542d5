package main

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// auditFile is a file to which lines are added, each with one write of its own, so that none waits in the process and none
// is torn by a rotation.
type auditFile struct {
	path string
	log  *slog.Logger // of the program

	mu     sync.Mutex
	f      *os.File // guarded by mu
	failed bool     // guarded by mu: the last write did, which was logged
}

// openAudit opens the file, which it makes for the program's user alone.
func openAudit(path string, log *slog.Logger) (*auditFile, error) {
	a := &auditFile{path: path, log: log}
	return a, a.reopen()
}

// reopen goes on in the file that has the path now, as after a rotation. When that cannot be opened the old file stays.
func (a *auditFile) reopen() error {
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("audit.file: %w", err)
	}
	a.mu.Lock()
	old := a.f
	a.f, a.failed = f, false
	a.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.Close()
}

// Write adds a line. What cannot be written is in the log all the same, which says once that the file lacks it.
func (a *auditFile) Write(line []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n, err := a.f.Write(line)
	if err != nil && !a.failed {
		a.log.Error("the audit file cannot be written and lacks what the log has from here on", "error", err)
	}
	a.failed = err != nil
	return n, err
}

func (a *auditFile) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.f.Close()
}
