// Command berth-bench measures the cost of a registry: the server's CPU time for each operation,
// its peak memory, and the latencies of clients.
//
// Each figure compares berth with the floor, the least that a durable registry can do (see package
// floor), or berth on much data with berth on little. Both sides run on this machine as separate
// processes, in turn, pair by pair. The figure is the median of the pairs' ratios. So if the
// machine is slow for a while, both sides are affected.
package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "berth-bench:", err)
		os.Exit(1)
	}
}

// options are the command-line flags.
type options struct {
	berth, url, dir, run, json, profile string
	pid, pairs, tags, repos             int
	quick, noise, list, check           bool
}

func command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:           "berth-bench",
		Short:         "Measure what a registry costs, against the least that a durable registry can do",
		Args:          cobra.NoArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return o.measure(cmd) },
	}
	f := cmd.Flags()
	f.StringVar(&o.berth, "berth", "", "measure this berth (default: build the one of this module)")
	f.StringVar(&o.url, "url", "", "measure the registry at this URL; with --pid")
	f.IntVar(&o.pid, "pid", 0, "process of the registry at --url")
	f.BoolVar(&o.noise, "noise", false, "measure the floor against itself: how far from 1.00 the machine's noise goes")
	f.StringVar(&o.dir, "dir", "", "put the data directories below this one, which decides what disk is measured (default: where temporary files go)")
	f.StringVar(&o.run, "run", "", "only the scenarios whose name matches this regular expression")
	f.BoolVar(&o.list, "list", false, "print the scenarios' names and end")
	f.BoolVar(&o.quick, "quick", false, "fewer pairs and smaller sizes: a try, not a figure")
	f.IntVar(&o.pairs, "pairs", 0, "so many pairs for each figure (default 11)")
	f.IntVar(&o.tags, "tags", 0, "so many tags in the large repository (default 100000)")
	f.IntVar(&o.repos, "repositories", 0, "so many repositories in the large registry (default 20000)")
	f.StringVar(&o.json, "json", "", "write all figures to this file")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile of berth for each comparison into this directory (its debug address is then on)")
	f.BoolVar(&o.check, "check", false, "fail when a target is missed")
	cmd.MarkFlagsRequiredTogether("url", "pid")
	cmd.MarkFlagsMutuallyExclusive("url", "berth", "noise")
	cmd.MarkFlagsMutuallyExclusive("url", "profile")
	cmd.MarkFlagsMutuallyExclusive("noise", "profile")
	cmd.AddCommand(floorCommand())
	return cmd
}

func (o options) sizes() sizes {
	z := fullSizes()
	if o.quick {
		z = quickSizes()
	}
	for _, override := range []struct {
		flag int
		size *int
	}{{o.pairs, &z.pairs}, {o.tags, &z.tags}, {o.repos, &z.repos}} {
		if override.flag > 0 {
			*override.size = override.flag
		}
	}
	return z
}

// measure runs the selected scenarios and prints the report.
func (o options) measure(cmd *cobra.Command) (err error) {
	chosen, err := regexp.Compile(o.run)
	if err != nil {
		return fmt.Errorf("--run: %w", err)
	}
	z := o.sizes()
	table, err := scenarios(z, newContent(rand.Uint64()))
	if err != nil {
		return err
	}
	if o.list {
		for _, sc := range table {
			fmt.Fprintf(cmd.OutOrStdout(), "%-20s  %s\n", sc.name, sc.title)
		}
		return nil
	}
	dir, err := os.MkdirTemp(o.dir, "berth-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, err := o.bench(cmd.Context(), dir, z)
	if err != nil {
		return err
	}
	b.progress = cmd.ErrOrStderr()

	if err := b.warnOfSlowFiles(); err != nil {
		return err
	}
	report := Report{Machine: machine(dir), Began: time.Now(), Pairs: z.pairs, Quick: o.quick, Subject: b.subject.name}
	for _, sc := range table {
		if !chosen.MatchString(sc.name) {
			continue
		}
		fmt.Fprintf(b.progress, "%-20s  ", sc.name)
		result, err := b.run(cmd.Context(), sc)
		if errors.Is(err, errSkip) {
			fmt.Fprintln(b.progress, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", sc.name, err)
		}
		fmt.Fprintln(b.progress, "", result.summary())
		report.Results = append(report.Results, result)
	}
	report.Seconds = time.Since(report.Began).Seconds()
	return o.finish(cmd, report)
}

// finish writes the report. With --check it returns an error if a target was missed.
func (o options) finish(cmd *cobra.Command, report Report) error {
	if o.json != "" {
		if err := report.writeJSON(o.json); err != nil {
			return err
		}
	}
	fmt.Fprintln(cmd.OutOrStdout())
	if err := report.writeTable(cmd.OutOrStdout()); err != nil {
		return err
	}
	if n := report.missed(); n > 0 && o.check {
		return fmt.Errorf("%d of %d scenarios miss their target", n, len(report.Results))
	}
	return nil
}

// bench finds or builds the programs to compare.
func (o options) bench(ctx context.Context, dir string, z sizes) (*bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bench{floor: floorProgram(self), dir: dir, sizes: z, profiles: o.profile}
	switch {
	case o.url != "":
		b.subject = program{name: "subject", url: o.url, pid: o.pid}
		return b, nil
	case o.noise:
		b.subject = floorProgram(self)
		return b, nil
	}
	path := o.berth
	if path == "" {
		if path, err = buildBerth(ctx, dir); err != nil {
			return nil, err
		}
	}
	b.subject = berthProgram(path)
	if o.profile != "" {
		b.subject.debug = true
		err = os.MkdirAll(o.profile, 0o755)
	}
	return b, err
}
