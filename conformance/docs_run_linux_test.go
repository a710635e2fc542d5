package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/berth-registry/berth/internal/testserver"
)

// markedCommands matches a block of commands that the pages mark: "```sh run NAME".
var markedCommands = regexp.MustCompile("(?ms)^```sh run ([a-z-]+)\n(.*?)^```$")

// writeMarkedCommands writes each marked block of the README and the pages to NAME.sh in dir.
func writeMarkedCommands(t *testing.T, dir string) {
	t.Helper()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range markedCommands.FindAllStringSubmatch(string(text), -1) {
			name := filepath.Join(dir, block[1]+".sh")
			if _, err := os.Stat(name); err == nil {
				t.Fatalf("%s: there are two blocks %q", page, block[1])
			}
			if err := os.WriteFile(name, []byte(block[2]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDocumentedCommands runs the marked commands of the pages on a machine with systemd: the
// installation as a service, with all limits of its unit, a backup, a restore, robots and tokens.
// testdata/machine/check.sh has their order, and what must be true after each.
func TestDocumentedCommands(t *testing.T) {
	if os.Geteuid() != 0 {
		testserver.SkipOrFail(t, "booting systemd in namespaces of its own needs root")
	}
	for _, program := range []string{"/lib/systemd/systemd", "/usr/bin/unshare", "/usr/bin/curl", "/usr/bin/rsync"} {
		if _, err := os.Stat(program); err != nil {
			testserver.SkipOrFail(t, "a machine cannot be booted: %v", err)
		}
	}
	share := t.TempDir() // of the machine and this test
	commands := filepath.Join(share, "commands")
	if err := os.Mkdir(commands, 0o755); err != nil {
		t.Fatal(err)
	}
	writeMarkedCommands(t, commands)
	// A machine that hangs is stopped before the suite is, and shows what it did.
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	console, err := exec.CommandContext(ctx, "unshare",
		"--mount", "--propagation", "private", "--pid", "--fork", "--cgroup", "--kill-child",
		"testdata/machine/boot.sh", berthBinary(t), "../deploy", share).CombinedOutput()
	output, _ := os.ReadFile(filepath.Join(share, "output")) // absent if the machine does not boot
	if !strings.HasSuffix(string(output), "\npassed\n") {
		t.Errorf("the commands fail (%v)\nconsole:\n%s\ncheck:\n%s", err, console, output)
	}
}
