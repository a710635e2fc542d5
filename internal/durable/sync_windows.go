package durable

import "os"

// SyncOpenDir does nothing on Windows.
func SyncOpenDir(*os.File) error { return nil }
