//go:build !linux

package conformance

import "syscall"

// dieWithParent has no portable way to do what it says: outside Linux a child may
// outlive a test that is killed.
func dieWithParent() *syscall.SysProcAttr { return nil }
