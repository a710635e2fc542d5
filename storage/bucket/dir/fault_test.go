package dir

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/berth-registry/berth/storage/bucket"
	"github.com/berth-registry/berth/storage/bucket/buckettest"
)

// faultyDisk is a system whose calls can fail, with a list of the calls.
type faultyDisk struct {
	system
	before func(step, path string) error // if not nil, called before each step and may fail it

	mu    sync.Mutex
	fail  map[string]error
	steps []string
}

func (d *faultyDisk) step(step, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps = append(d.steps, step)
	if d.before != nil {
		if err := d.before(step, path); err != nil {
			return err
		}
	}
	return d.fail[step]
}

// set makes a step fail from now on, and empties the list.
func (d *faultyDisk) set(step string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail, d.steps = map[string]error{step: err}, nil
}

func (d *faultyDisk) want(t *testing.T, steps ...string) {
	t.Helper()
	if !slices.Equal(d.steps, steps) {
		t.Errorf("steps %q, want %q", d.steps, steps)
	}
}

func (d *faultyDisk) create(path string) (*os.File, error) {
	if err := d.step("create", path); err != nil {
		return nil, err
	}
	return d.system.create(path)
}

func (d *faultyDisk) write(f *os.File, p []byte) error {
	if err := d.step("write", f.Name()); err != nil {
		return err
	}
	return d.system.write(f, p)
}

func (d *faultyDisk) sync(f *os.File) error {
	if err := d.step("sync", f.Name()); err != nil {
		return err
	}
	return d.system.sync(f)
}

func (d *faultyDisk) rename(from, to string) error {
	if err := d.step("rename", from); err != nil {
		return err
	}
	return d.system.rename(from, to)
}

func (d *faultyDisk) openDir(path string) (*os.File, error) {
	if err := d.step("opendir", path); err != nil {
		return nil, err
	}
	return d.system.openDir(path)
}

func (d *faultyDisk) syncDir(dir *os.File) error {
	if err := d.step("syncdir", dir.Name()); err != nil {
		return err
	}
	return d.system.syncDir(dir)
}

func (d *faultyDisk) remove(path string) error {
	if err := d.step("remove", path); err != nil {
		return err
	}
	return d.system.remove(path)
}

func (d *faultyDisk) open(path string) (*os.File, error) {
	if err := d.step("open", path); err != nil {
		return nil, err
	}
	return d.system.open(path)
}

func (d *faultyDisk) stat(path string) error {
	if err := d.step("stat", path); err != nil {
		return err
	}
	return d.system.stat(path)
}

func openFaulty(t *testing.T) (*Store, *faultyDisk) {
	t.Helper()
	b, d := openDir(t, t.TempDir(), bucket.Options{}), &faultyDisk{}
	b.disk = d
	return b, d
}

var putSteps = map[string][]string{
	"content/3c/f-1": {"opendir", "create", "write", "write", "sync", "syncdir"},
	bucket.Marker:    {"opendir", "create", "write", "write", "sync", "rename", "syncdir"},
}

func TestPutFaults(t *testing.T) {
	for key, order := range putSteps {
		b, d := openFaulty(t)
		for _, size := range []int{100, firstBuffer + 1, 3 * defaultBuffer} {
			for _, step := range slices.Compact(slices.Clone(order)) {
				content := buckettest.Body(size)
				d.set(step, syscall.EIO)
				sum := buckettest.NewDigest()
				n, err := b.Put(t.Context(), key, bytes.NewReader(content), sum)
				if !errors.Is(err, syscall.EIO) || errors.Is(err, bucket.ErrNoSpace) {
					t.Errorf("%s fails: %v", step, err)
				}
				sum.Want(t, content, n)
				if done := slices.DeleteFunc(d.steps, func(s string) bool { return s == "remove" }); done[len(done)-1] != step {
					t.Errorf("%s fails, but goes on: %q", step, done)
				}
				if step == "syncdir" { // failed, but it happened
					buckettest.WantObject(t, b, key, content)
				} else {
					wantFiles(t, b)
				}
				d.set("", nil)
				if err := b.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		}
		d.set("", nil)
		buckettest.MustPut(t, b, key, buckettest.Body(firstBuffer+1))
		d.want(t, order...)
		wantFiles(t, b, key)
	}
}

// TestUnreadable checks which errors of Get mean that an object cannot be read although the bucket
// can be.
func TestUnreadable(t *testing.T) {
	b, d := openFaulty(t)
	const key = "content/3c/f-1"
	buckettest.MustPut(t, b, key, buckettest.Body(10))
	for _, c := range []struct {
		open, stat error
		unreadable bool
	}{
		{syscall.EACCES, nil, true},
		{syscall.EPERM, nil, true},
		{syscall.EIO, nil, true},
		{syscall.EACCES, syscall.EACCES, false}, // the directory may not be searched
		{syscall.EIO, syscall.EIO, false},
		{syscall.EMFILE, nil, false},
		{syscall.ENFILE, nil, false},
	} {
		d.mu.Lock()
		d.fail = map[string]error{"open": c.open, "stat": c.stat}
		d.mu.Unlock()
		_, err := b.Get(t.Context(), key, 0, bucket.UnknownSize)
		if !errors.Is(err, c.open) || errors.Is(err, bucket.ErrUnreadable) != c.unreadable {
			t.Errorf("open %v, stat %v: %v", c.open, c.stat, err)
		}
	}
}

// TestContextEndsAfterPublishing checks that a Put succeeds if its context ends after the object
// has its final name.
func TestContextEndsAfterPublishing(t *testing.T) {
	b, d := openFaulty(t)
	ctx, cancel := context.WithCancel(t.Context())
	d.before = func(step, _ string) error {
		if step == "syncdir" {
			cancel()
		}
		return nil
	}
	if _, err := b.Put(ctx, testKey, bytes.NewReader(buckettest.Body(10)), io.Discard); err != nil {
		t.Error(err)
	}
	buckettest.WantObject(t, b, testKey, buckettest.Body(10))
}

func TestNoSpaceFaults(t *testing.T) {
	if isDiskFull(syscall.EIO) {
		t.Fatal("every error is a full disk")
	}
	b, d := openFaulty(t)
	for _, step := range putSteps[bucket.Marker] {
		for _, full := range diskFullErrors {
			d.set(step, &fs.PathError{Op: "write", Path: "x", Err: full})
			_, err := b.Put(t.Context(), bucket.Marker, bytes.NewReader(buckettest.Body(firstBuffer+1)), io.Discard)
			if !errors.Is(err, bucket.ErrNoSpace) || !errors.Is(err, full) {
				t.Errorf("%v at %s: %v", full, step, err)
			}
		}
	}
	// The same error of the client's reader does not mean a full disk.
	d.set("", nil)
	_, err := b.Put(t.Context(), testKey, iotest.ErrReader(diskFullErrors[0]), io.Discard)
	if errors.Is(err, bucket.ErrNoSpace) || !errors.Is(err, diskFullErrors[0]) {
		t.Errorf("a reader's error: %v", err)
	}
}

func TestDeleteAndReadFaults(t *testing.T) {
	one, two := "content/3c/f-1", "content/4d/f-2"
	b, d := openFaulty(t)
	reset := func(failing string) {
		d.before = nil
		d.set("", nil)
		buckettest.MustPut(t, b, one, buckettest.Body(1))
		buckettest.MustPut(t, b, two, buckettest.Body(1))
		d.set("", nil)
		paths := []string{b.path(one), b.path("content/3c")}
		d.before = func(step, path string) error {
			if step == failing && slices.Contains(paths, path) {
				return syscall.EIO
			}
			return nil
		}
	}
	steps := []string{"opendir", "remove", "syncdir", "opendir", "remove", "syncdir"}
	for _, step := range []string{"remove", "syncdir"} {
		reset(step)
		if err := b.Delete(t.Context(), one, two); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s fails: %v", step, err)
		}
		d.want(t, steps...)
		if step == "remove" {
			wantFiles(t, b, one)
		} else {
			wantFiles(t, b) // failed, but it happened
		}
		// The second Delete syncs the directories although nothing is left to remove.
		d.before = nil
		d.set("", nil)
		if err := b.Delete(t.Context(), one, two); err != nil {
			t.Error(err)
		}
		d.want(t, steps...)
		wantFiles(t, b)
	}
	reset("open")
	if r, err := b.Get(t.Context(), one, 0, bucket.UnknownSize); !errors.Is(err, syscall.EIO) || errors.Is(err, fs.ErrNotExist) || r != nil {
		t.Errorf("open fails: %v, %v", r, err)
	}
	buckettest.WantObject(t, b, two, buckettest.Body(1))
}
