//go:build !linux

package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// On other systems the program builds and the floor runs, but nothing can be measured.

func cpuTime(int) (time.Duration, error) {
	return 0, fmt.Errorf("CPU time of another process on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func peakMemory(int) (int64, error) {
	return 0, fmt.Errorf("peak memory of another process on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

func resetPeak(int) error { return errors.ErrUnsupported }

func fileSystem(string) string { return "unknown" }
func processor() string        { return runtime.GOARCH }
func kernel() string           { return runtime.GOOS }
