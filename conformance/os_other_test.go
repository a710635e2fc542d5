//go:build !linux

package conformance

import (
	"syscall"
	"testing"
)

// dieWithParent does nothing: there is no portable way. A child may outlive a test that is killed.
func dieWithParent() *syscall.SysProcAttr { return nil }

// stopWithParent does nothing, for the same reason.
func stopWithParent() *syscall.SysProcAttr { return nil }

// onOverlay returns false: only Linux has overlay file systems.
func onOverlay(testing.TB, string) bool { return false }

// unmountBelow does nothing: the tests mount file systems only on Linux.
func unmountBelow(testing.TB, string) {}
