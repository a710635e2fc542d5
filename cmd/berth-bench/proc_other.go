//go:build !linux

package main

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// Elsewhere the program builds and its floor runs, but it cannot measure.

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
