package storage

import (
	"context"
	"time"
)

// The times of rows are compared with one clock. If the database is exclusive to this process, that
// is the clock of the process. Else it is the database's: a process whose clock is fast would
// delete what others still write. It is read at intervals, and the time between is measured by the
// process's monotonic clock, which no change of the system's time affects.

// clockReading is what the database's clock showed, and this process's soon after.
type clockReading struct{ database, own time.Time }

// readClock reads the database's clock.
func (r *Registry) readClock(ctx context.Context) error {
	if r.db.Exclusive() {
		return nil
	}
	now, err := r.db.Now(ctx)
	if err != nil {
		return err
	}
	r.clock.Store(&clockReading{time.UnixMicro(now), r.opts.Now()})
	return nil
}

// now returns the time for the times of rows.
func (r *Registry) now() time.Time {
	now := r.opts.Now()
	if read := r.clock.Load(); read != nil {
		return read.database.Add(now.Sub(read.own))
	}
	return now
}

// nowMicro returns the time in microseconds since 1970, as rows have it.
func (r *Registry) nowMicro() int64 { return r.now().UnixMicro() }
