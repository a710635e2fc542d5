//go:build !linux

package conformance

import (
	"syscall"
	"testing"
)

// dieWithParent has no portable way to do what it says: outside Linux a child may
// outlive a test that is killed.
func dieWithParent() *syscall.SysProcAttr { return nil }

// stopWithParent has no portable way either.
func stopWithParent() *syscall.SysProcAttr { return nil }

// onOverlay is false: only Linux has overlay file systems.
func onOverlay(testing.TB, string) bool { return false }

// unmountBelow does nothing: only on Linux do the tests mount anything.
func unmountBelow(testing.TB, string) {}
