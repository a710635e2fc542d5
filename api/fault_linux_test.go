package api

import (
	"syscall"
	"testing"
)

// TestNoDescriptors checks the answers while the process can open no file, and that all is well and
// nothing is marked damaged afterwards.
func TestNoDescriptors(t *testing.T) {
	f := newFaultySite(t)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := syscall.Rlimit{Cur: 3, Max: limit.Max} // open files stay open
	restore := func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(restore)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	f.failsInBucket()
	f.runCases(f.reads())
	restore()
	f.runCases([]exchangeCase{
		{Name: "GET", Method: "GET", URL: "/v2/a/blobs/" + f.d, WantCode: 200, WantBody: "hello"},
		{Name: "PUT", Method: "PUT", URL: "{up}?digest=" + sha256Of("x"), Body: "x", WantCode: 201},
	})
}
