package conformance

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"
)

// machine is a server with database and bucket on two disks. On one disk, the fsync of SQLite's log
// would also commit the journal for the bucket, and so hide a missing fsync of the bucket.
type machine struct {
	*server
	rows, bytes *disk
}

func (m *machine) database() string { return filepath.Join(m.rows.dir, "data", "berth.db") }
func (m *machine) bucket() string   { return filepath.Join(m.bytes.dir, "blobs") }

// disks returns a set of the machine's disks by name.
func (m *machine) disks(which string) []*disk {
	switch which {
	case "rows":
		return []*disk{m.rows}
	case "bytes":
		return []*disk{m.bytes}
	}
	return []*disk{m.rows, m.bytes}
}

// newMachine starts a server on two new disks. An empty program is the berth under test.
func newMachine(t *testing.T, program string, env ...string) *machine {
	t.Helper()
	m := &machine{rows: newDisk(t, "rows", 2<<30), bytes: newDisk(t, "bytes", 6<<30)}
	m.server = startBerth(t, options{
		Program: program,
		Data:    filepath.Join(m.rows.dir, "data"),
		Env:     append([]string{"BERTH_LOG_LEVEL=warn", unlimited, "BERTH_STORAGE_BUCKET=file://" + m.bucket()}, env...),
	})
	return m
}

// recover kills the server after a cut and starts it again with the content of the disks.
func (m *machine) recover(disks []*disk) {
	m.t.Helper()
	m.Kill()
	for _, d := range disks {
		d.reboot()
	}
	m.Restart()
}

// TestPower repeatedly cuts the power during a storm: of the disk with the database, of the disk
// with the bucket, and of both. Everything that was acknowledged must be there afterwards,
// including requests that began after the cut.
func TestPower(t *testing.T) {
	const cuts = 24
	seed := stormSeed(t)
	rng := rand.New(rand.NewPCG(seed, 2))
	m := newMachine(t, "")
	s := newStorm(t, m.URL, seed, 2<<30)
	s.mayLoseUploads = true
	var total verdict
	for round := range cuts {
		which := []string{"both", "rows", "bytes"}[round%3]
		over := make(chan struct{})
		go func() {
			defer close(over)
			s.run(round)
		}()
		time.Sleep(time.Duration(300+rng.IntN(1500)) * time.Millisecond)
		s.failing.Store(true)
		s.cut.Store(true)
		disks := m.disks(which)
		cutAll(t, disks)
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		s.stop.Store(true)
		m.Kill()
		<-over
		s.newRound()
		s.call.http.CloseIdleConnections()
		m.recover(disks)
		s.failing.Store(false)
		s.cut.Store(false)
		total.add(s.verify(s.list(round)))
		total.add(s.verify(sample(rng, s.list(-1), 100)))
		s.report(fmt.Sprintf("after cut %d, of %s", round+1, which))
		if t.Failed() {
			t.FailNow()
		}
	}
	total.add(s.verify(s.list(-1)))
	s.report("at the end")
	m.Stop()
	requireConsistent(t, m.database(), m.bucket())
	t.Logf("%d cuts: %s; %d read back, %d lost, %d wrong", cuts, s.ledger, total.read, total.lost, total.wrong)
}

// TestPowerAtStart cuts the power during the first start. The next start must make the rest.
func TestPowerAtStart(t *testing.T) {
	seed := stormSeed(t)
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	for round := range 9 {
		m := &machine{rows: newDisk(t, "rows", 1<<30), bytes: newDisk(t, "bytes", 1<<30)}
		data, env := filepath.Join(m.rows.dir, "data"), []string{"BERTH_STORAGE_BUCKET=file://" + m.bucket()}
		disks := m.disks([]string{"both", "rows", "bytes"}[round%3])
		interruptStart(t, data, env, func() {
			time.Sleep(time.Duration(rng.IntN(250)) * time.Millisecond)
			cutAll(t, disks)
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
		})
		for _, d := range disks {
			d.reboot()
		}
		requireWorking(t, startBerth(t, options{Data: data, Env: env}))
		requireConsistent(t, m.database(), m.bucket())
	}
}
