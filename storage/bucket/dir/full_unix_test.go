//go:build unix

package dir

import "syscall"

var diskFullErrors = []error{syscall.ENOSPC, syscall.EDQUOT}
