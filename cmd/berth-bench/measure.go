package main

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxClients is the maximum number of connections that a scenario keeps open.
const maxClients = 128

// settleTime is how long to wait after the last answer, so that work which the server does
// afterwards is counted.
const settleTime = 5 * time.Millisecond

// work is what a scenario does to one registry. A batch repeats a cycle: prepare, then ops
// operations by a number of clients, then cleanup. Only the operations are measured. All functions
// but op may be nil.
//
//	process:  warmUp (setup, then a cycle of warmUpOps), batch, batch, …
//	batch:    cycle, cycle, …
//	cycle:    prepare, ops × op (measured), cleanup
type work struct {
	seed    func(ctx context.Context, c *client) error                 // once for each data directory, in a separate process
	setup   func(ctx context.Context, c *client) error                 // once for each process
	prepare func(ctx context.Context, c *client, cycle, ops int) error // cycle is counted over all batches; warmUpCycle in a warm-up
	op      func(ctx context.Context, c *client, i int) error          // 0 ≤ i < ops
	cleanup func(ctx context.Context, c *client, cycle, ops int) error

	ops, cycles, clients int

	units     int   // number of the scenario's units in a cycle; 0: ops
	bytes     int64 // bytes sent or fetched in a cycle; 0 if they are not reported
	warmUpOps int   // operations before the first batch of a process, not measured
}

// warmUpCycle is the number of the cycle in a warm-up.
const warmUpCycle = -1

// sample is one measured batch.
type sample struct {
	wall, cpu time.Duration
	units     int
	bytes     int64
	latencies []time.Duration // of each operation
}

func (s sample) cpuPerUnit() float64 { return float64(s.cpu) / float64(s.units) }
func (s sample) p50() float64        { return float64(percentile(s.latencies, 0.50)) }
func (s sample) p99() float64        { return float64(percentile(s.latencies, 0.99)) }

// warmUp prepares a new process for measure.
func (w *work) warmUp(ctx context.Context, s *server) error {
	if w.setup != nil {
		if err := w.setup(ctx, s.client); err != nil {
			return fmt.Errorf("%s: setting up: %w", s.name, err)
		}
	}
	if w.warmUpOps == 0 {
		return nil
	}
	_, err := w.cycle(ctx, s, warmUpCycle, w.warmUpOps)
	return err
}

// runner is a server with the work to do on it.
type runner struct {
	*server
	work *work
}

// measure runs one batch on each of the runners, which must have the same number of cycles. The
// runners take turns after each cycle, because the machine may be slow in one second and fast in
// the next. Which runner goes first alternates, so that all are affected equally by what a cycle
// leaves to the disk and the caches.
func measure(ctx context.Context, batch int, runners ...runner) ([]sample, error) {
	totals := make([]sample, len(runners))
	cycles := runners[0].work.cycles
	for n := range cycles {
		number := batch*cycles + n
		for turn := range runners {
			i := (turn + number) % len(runners)
			w := runners[i].work
			one, err := w.cycle(ctx, runners[i].server, number, w.ops)
			if err != nil {
				return nil, err
			}
			totals[i].add(one)
		}
	}
	for i, r := range runners {
		totals[i].bytes = r.work.bytes * int64(cycles)
		totals[i].units = cycles * cmp.Or(r.work.units, r.work.ops)
	}
	return totals, nil
}

func (s *sample) add(one sample) {
	s.wall += one.wall
	s.cpu += one.cpu
	s.latencies = append(s.latencies, one.latencies...)
}

func (w *work) cycle(ctx context.Context, s *server, cycle, ops int) (sample, error) {
	if w.prepare != nil {
		if err := w.prepare(ctx, s.client, cycle, ops); err != nil {
			return sample{}, fmt.Errorf("%s: preparing: %w", s.name, err)
		}
	}
	time.Sleep(settleTime)
	before, err := cpuTime(s.pid)
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	latencies, err := inParallel(ctx, w.clients, ops, func(ctx context.Context, i int) error { return w.op(ctx, s.client, i) })
	wall := time.Since(began)
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w", s.name, err)
	}
	time.Sleep(settleTime)
	after, err := cpuTime(s.pid)
	if err != nil {
		return sample{}, err
	}
	if w.cleanup != nil {
		if err := w.cleanup(ctx, s.client, cycle, ops); err != nil {
			return sample{}, fmt.Errorf("%s: cleaning up: %w", s.name, err)
		}
	}
	return sample{wall: wall, cpu: after - before, latencies: latencies}, nil
}

// inParallel calls op for 0 … ops-1 with a number of concurrent clients. It returns how long each
// call took, in no particular order.
func inParallel(ctx context.Context, clients, ops int, op func(ctx context.Context, i int) error) ([]time.Duration, error) {
	clients = min(clients, ops)
	taken := make([][]time.Duration, clients)
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for n := range clients {
		taken[n] = make([]time.Duration, 0, 2*ops/clients)
		group.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= ops {
					return nil
				}
				began := time.Now()
				if err := op(ctx, i); err != nil {
					return err
				}
				taken[n] = append(taken[n], time.Since(began))
			}
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := make([]time.Duration, 0, ops)
	for _, t := range taken {
		all = append(all, t...)
	}
	return all, nil
}
