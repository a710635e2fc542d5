package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSystemdUnit runs deploy/systemd/berth.service under a real systemd, with all its limits:
// start, a port below 1024, reload, restart and stop.
func TestSystemdUnit(t *testing.T) {
	if os.Geteuid() != 0 {
		skipOrFail(t, "booting systemd in namespaces of its own needs root")
	}
	for _, program := range []string{"/lib/systemd/systemd", "/usr/bin/unshare", "/usr/bin/curl", "/usr/sbin/useradd"} {
		if _, err := os.Stat(program); err != nil {
			skipOrFail(t, "systemd cannot be booted: %v", err)
		}
	}
	// Shorter than the suite's limit, so that a machine that hangs shows what it did.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	result := t.TempDir()
	console, err := exec.CommandContext(ctx, "unshare",
		"--mount", "--propagation", "private", "--pid", "--fork", "--cgroup", "--kill-child",
		"testdata/systemd/boot.sh", berthBinary(t), "../deploy/systemd/berth.service", result).CombinedOutput()
	output, _ := os.ReadFile(filepath.Join(result, "output")) // absent if the machine does not boot
	if !strings.Contains(string(output), "\npassed\n") {
		t.Errorf("the unit does not work (%v)\nconsole:\n%s\ncheck:\n%s", err, console, output)
	}
}
