//go:build unix

package bucket

import "syscall"

var diskFullErrors = []error{syscall.ENOSPC, syscall.EDQUOT}
