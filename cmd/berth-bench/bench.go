package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// bench runs scenarios one after the other.
type bench struct {
	floor    program
	subject  program
	dir      string // for all data, on the file system to measure
	sizes    sizes
	profiles string // directory for CPU profiles of the subject; "" for none
	progress io.Writer

	largeDir string // large data directory, made by the first scenario that needs it
	smallDir string // data directory with few repositories, made likewise
}

// errSkip means that a scenario is skipped. Wrapping errors give the reason.
var errSkip = errors.New("left out")

// run returns the result of the scenario, or errSkip if it cannot be measured on this subject.
func (b *bench) run(ctx context.Context, sc scenario) (Result, error) {
	switch {
	case sc.kind == startOnly && b.subject.external():
		return Result{}, fmt.Errorf("%w: %s is not ours to restart", errSkip, b.subject.name)
	case sc.kind == againstFewRepos && b.subject.external():
		return Result{}, fmt.Errorf("%w: needs a second %s with few repositories", errSkip, b.subject.name)
	case sc.kind.withAuth() && b.subject.external():
		return Result{}, fmt.Errorf("%w: needs users in %s", errSkip, b.subject.name)
	case sc.kind != againstFloor && sc.kind != againstFloorFresh && sc.kind != peakOnly && b.subject.path == b.floor.path && !b.subject.external():
		return Result{}, fmt.Errorf("%w: the floor has no lists, no deletes and no users", errSkip)
	}
	switch sc.kind {
	case startOnly:
		return b.runStart(ctx, sc)
	case peakOnly:
		return b.runPeak(ctx, sc)
	case againstFewTags:
		return b.runTags(ctx, sc)
	case againstFewRepos:
		return b.runRepos(ctx, sc)
	case againstOpen, authPair, authAlone:
		return b.runAuth(ctx, sc)
	default:
		return b.runFloor(ctx, sc)
	}
}

// side is one of the two sides that a scenario compares.
type side struct {
	name  string
	work  *work
	start func(ctx context.Context, pair int) (*server, error)
}

// runFloor compares the subject with the floor.
func (b *bench) runFloor(ctx context.Context, sc scenario) (_ Result, err error) {
	root, err := b.makeDir(sc.name)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, truncateLargeFiles(root)) }()
	sideOf := func(p program, role string) side {
		dirOf := func(pair int) string {
			if sc.kind == againstFloorFresh {
				return filepath.Join(root, fmt.Sprintf("%s-%d", role, pair))
			}
			return filepath.Join(root, role)
		}
		return side{p.name, sc.work, func(ctx context.Context, pair int) (*server, error) {
			if sc.kind == againstFloorFresh && pair > 0 {
				if err := truncateLargeFiles(dirOf(pair - 1)); err != nil {
					return nil, err
				}
			}
			if pair == 0 && sc.work.seed != nil {
				if err := b.fill(ctx, p, dirOf(pair), sc.work.seed); err != nil {
					return nil, err
				}
			}
			return p.start(ctx, dirOf(pair))
		}}
	}
	return b.comparePairs(ctx, sc, sideOf(b.floor, "floor"), sideOf(b.subject, "subject"))
}

// runTags compares two repositories in one process.
func (b *bench) runTags(ctx context.Context, sc scenario) (Result, error) {
	dir, err := b.largeDataDir(ctx)
	if err != nil {
		return Result{}, err
	}
	var shared *server
	base := side{b.subject.name + ", few", sc.base, func(ctx context.Context, _ int) (*server, error) {
		var err error
		shared, err = b.subject.start(ctx, dir)
		return shared, err
	}}
	much := side{b.subject.name, sc.work, func(context.Context, int) (*server, error) { return shared, nil }}
	return b.comparePairs(ctx, sc, base, much)
}

// runRepos compares two processes of the subject.
func (b *bench) runRepos(ctx context.Context, sc scenario) (Result, error) {
	muchDir, err := b.largeDataDir(ctx)
	if err != nil {
		return Result{}, err
	}
	if b.smallDir == "" {
		few := filepath.Join(b.dir, "few")
		err := b.fill(ctx, b.subject, few, func(ctx context.Context, cl *client) error { return fillRepos(ctx, cl, fewRepos) })
		if err != nil {
			return Result{}, err
		}
		b.smallDir = few
	}
	on := func(dir string) func(context.Context, int) (*server, error) {
		return func(ctx context.Context, _ int) (*server, error) { return b.subject.start(ctx, dir) }
	}
	return b.comparePairs(ctx, sc, side{b.subject.name + ", few", sc.base, on(b.smallDir)}, side{b.subject.name, sc.work, on(muchDir)})
}

// comparePairs measures the sides in turn. It starts new processes for each pair, because the
// difference between two processes of the same program is larger than what is measured.
func (b *bench) comparePairs(ctx context.Context, sc scenario, sides ...side) (Result, error) {
	tallies := make([]tally, len(sides))
	for i, s := range sides {
		tallies[i].name = s.name
	}
	for pair := range b.sizes.pairs {
		if err := b.measurePair(ctx, sc, pair, sides, tallies); err != nil {
			return Result{}, fmt.Errorf("pair %d: %w", pair+1, err)
		}
		fmt.Fprint(b.progress, ".")
	}
	if len(sides) == 1 {
		return singleResult(sc, tallies[0]), nil
	}
	return pairResult(sc, tallies[0], tallies[1]), nil
}

func (b *bench) measurePair(ctx context.Context, sc scenario, pair int, sides []side, tallies []tally) (err error) {
	servers := make([]*server, len(sides))
	defer func() {
		for _, s := range servers {
			if s != nil {
				err = errors.Join(err, s.stop())
			}
		}
	}()
	runners := make([]runner, len(sides))
	for i, s := range sides {
		if servers[i], err = s.start(ctx, pair); err != nil {
			return err
		}
		if err := s.work.warmUp(ctx, servers[i]); err != nil {
			return err
		}
		runners[i] = runner{servers[i], s.work}
	}
	samples, err := measure(ctx, pair, runners...)
	if err != nil {
		return err
	}
	for i, got := range samples {
		peak, err := peakMemory(servers[i].pid)
		if err != nil {
			return err
		}
		tallies[i].add(got, peak)
	}
	if last := runners[len(runners)-1]; pair == b.sizes.pairs-1 && last.debugURL != "" {
		return b.profile(ctx, sc, last)
	}
	return nil
}

// runPeak measures the subject's peak memory in fresh processes.
func (b *bench) runPeak(ctx context.Context, sc scenario) (_ Result, err error) {
	root, err := b.makeDir(sc.name)
	if err != nil {
		return Result{}, err
	}
	defer func() { err = errors.Join(err, truncateLargeFiles(root)) }()
	dir := filepath.Join(root, "subject")
	if sc.work.seed != nil {
		if err := b.fill(ctx, b.subject, dir, sc.work.seed); err != nil {
			return Result{}, err
		}
	}
	t := tally{name: b.subject.name}
	for run := range b.sizes.runs {
		if sc.work.seed == nil {
			dir = filepath.Join(root, fmt.Sprintf("subject-%d", run))
		}
		if err := b.measurePeak(ctx, sc, dir, run, &t); err != nil {
			return Result{}, err
		}
		fmt.Fprint(b.progress, ".")
		if sc.work.seed == nil {
			if err := truncateLargeFiles(dir); err != nil {
				return Result{}, err
			}
		}
	}
	return singleResult(sc, t), nil
}

func (b *bench) measurePeak(ctx context.Context, sc scenario, dir string, run int, t *tally) (err error) {
	s, err := b.subject.start(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if b.subject.external() {
		if err := resetPeak(s.pid); err != nil {
			return fmt.Errorf("forgetting the peak of a process that goes on: %w", err)
		}
	}
	samples, err := measure(ctx, run, runner{s, sc.work})
	if err != nil {
		return err
	}
	peak, err := peakMemory(s.pid)
	if err != nil {
		return err
	}
	t.add(samples[0], peak)
	return nil
}

// runStart measures how soon the subject is ready with the large data directory.
func (b *bench) runStart(ctx context.Context, sc scenario) (Result, error) {
	dir, err := b.largeDataDir(ctx)
	if err != nil {
		return Result{}, err
	}
	t := tally{name: b.subject.name}
	for range b.sizes.pairs {
		s, err := b.subject.start(ctx, dir)
		if err != nil {
			return Result{}, err
		}
		cpu, cpuErr := cpuTime(s.pid)
		peak, peakErr := peakMemory(s.pid)
		if err := errors.Join(cpuErr, peakErr, s.stop()); err != nil {
			return Result{}, err
		}
		t.add(sample{wall: s.readyIn, cpu: cpu, units: 1, latencies: []time.Duration{s.readyIn}}, peak)
		fmt.Fprint(b.progress, ".")
	}
	return singleResult(sc, t), nil
}

// largeDataDir returns the large data directory, which it fills on the first call.
func (b *bench) largeDataDir(ctx context.Context) (string, error) {
	if b.largeDir != "" {
		return b.largeDir, nil
	}
	fmt.Fprintf(b.progress, "(filling %d tags and %d repositories", b.sizes.tags, b.sizes.repos)
	began := time.Now()
	dir := filepath.Join(b.dir, "much")
	err := b.fill(ctx, b.subject, dir, func(ctx context.Context, cl *client) error { return fillLarge(ctx, cl, b.sizes) })
	if err != nil {
		return "", err
	}
	fmt.Fprintf(b.progress, ": %.0f s) ", time.Since(began).Seconds())
	b.largeDir = dir
	return dir, nil
}

// fill starts a process, calls do with a client of it, and stops it.
func (b *bench) fill(ctx context.Context, p program, dir string, do func(context.Context, *client) error) (err error) {
	s, err := p.start(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	return do(ctx, s.client)
}

func (b *bench) makeDir(name string) (string, error) {
	dir := filepath.Join(b.dir, name)
	return dir, os.Mkdir(dir, 0o755)
}
