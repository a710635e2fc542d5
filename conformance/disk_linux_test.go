package conformance

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/berth-registry/berth/internal/testserver"
)

// disk is an ext4 file system in its own image file. Its power can be cut. Its options make it
// write as little as possible without fsync: it commits the journal once a minute, and a rename
// writes no data.
type disk struct {
	t     *testing.T
	image string
	dir   string // mount point
}

// needDisks skips the test if it cannot make disks.
func needDisks(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		testserver.SkipOrFail(t, "mounting a file system of its own needs root")
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		testserver.SkipOrFail(t, "no mkfs.ext4: %v", err)
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testserver.SkipOrFail(t, "no loop devices: %v", err)
	}
}

// newDisk makes a disk and mounts it.
func newDisk(t *testing.T, name string, bytes int64) *disk {
	t.Helper()
	needDisks(t)
	base := t.TempDir()
	d := &disk{t: t, image: filepath.Join(base, name+".img"), dir: filepath.Join(base, name)}
	if err := os.Mkdir(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(bytes), f.Close()); err != nil {
		t.Fatal(err)
	}
	run(t, nil, "mkfs.ext4", "-q", "-F", "-m", "0", d.image)
	if err := d.mount(); err != nil {
		testserver.SkipOrFail(t, "an image cannot be mounted: %v", err)
	}
	t.Cleanup(func() {
		// EINVAL means that it is not mounted.
		if err := unix.Unmount(d.dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount %s: %v", d.dir, err)
		}
	})
	return d
}

func (d *disk) mount() error {
	_, err := tryRun(d.t, nil, "mount", "-o", "loop,commit=60,noauto_da_alloc", d.image, d.dir)
	return err
}

// cut simulates a loss of power: what is not on the disk yet is lost, and all later writes fail.
func (d *disk) cut() error {
	const shutdown, dropLog = 0x8004587D, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	defer f.Close()
	flag := uint32(dropLog)
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flag))); e != 0 {
		return fmt.Errorf("EXT4_IOC_SHUTDOWN of %s: %w", d.dir, e)
	}
	return nil
}

// reboot mounts the disk again with its content at the loss of power. ext4 recovers its journal. No
// process may have a file of the disk open.
func (d *disk) reboot() {
	d.t.Helper()
	var err error
	poll(10*time.Second, func() bool { err = unix.Unmount(d.dir, 0); return !errors.Is(err, unix.EBUSY) })
	if err != nil {
		d.t.Fatalf("unmount %s: %v", d.dir, err)
	}
	if err := d.mount(); err != nil {
		d.t.Fatal(err)
	}
}

// cutAll cuts the power of several disks at almost the same time.
func cutAll(t *testing.T, disks []*disk) {
	t.Helper()
	failed := make(chan error)
	for _, d := range disks {
		go func() { failed <- d.cut() }()
	}
	for range disks {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
}
