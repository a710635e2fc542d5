package conformance

import "syscall"

// dieWithParent makes a child end when the test does, even by kill -9 or by a
// timeout, so that no server or daemon outlives it.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
