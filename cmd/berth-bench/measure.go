package main

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// maxClients is the most connections that any scenario keeps open.
const maxClients = 128

// settle is how long the server may go on after its last answer, so that the
// end of an operation's work counts.
const settle = 5 * time.Millisecond

// work is what a scenario does to one registry. A batch is cycles times:
// prepare, then ops operations by clients at once, then cleanup; only the
// operations are measured. Functions may be nil, but for op.
type work struct {
	seed    func(ctx context.Context, c *client) error                 // once for each data directory, by a process of its own
	setup   func(ctx context.Context, c *client) error                 // once for each process
	prepare func(ctx context.Context, c *client, cycle, ops int) error // cycle counts through all batches, warmUp for the first
	op      func(ctx context.Context, c *client, i int) error          // 0 ≤ i < ops
	cleanup func(ctx context.Context, c *client, cycle, ops int) error

	ops, cycles, clients int

	units int   // of the scenario's unit in a cycle; 0: ops
	bytes int64 // sent or fetched in a cycle, 0 where that does not matter
	warm  int   // operations before a process's first batch, unmeasured
}

// warmUp is the cycle of a warm-up.
const warmUp = -1

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

// begin makes a new process ready for measure.
func (w *work) begin(ctx context.Context, s *server) error {
	if w.setup != nil {
		if err := w.setup(ctx, s.client); err != nil {
			return fmt.Errorf("%s: setting up: %w", s.name, err)
		}
	}
	if w.warm == 0 {
		return nil
	}
	_, err := w.cycle(ctx, s, warmUp, w.warm)
	return err
}

// runner is a server and what is done to it.
type runner struct {
	*server
	work *work
}

// measure runs the batch of that number on each of the runners, which must
// have as many cycles. They take turns cycle by cycle, because the machine may
// be slow for a second and fast in the next; who goes first alternates, so that
// what one leaves to the disk and the caches meets all.
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
	time.Sleep(settle)
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
	time.Sleep(settle)
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

// inParallel calls op with each of 0 … ops-1, clients at a time, and returns
// how long each call took, in no order.
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
