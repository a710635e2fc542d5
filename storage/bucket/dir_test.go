package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestOpenMakesDirectories(t *testing.T) {
	root := filepath.Join(t.TempDir(), "not", "there", "yet")
	for range 2 {
		b := openDir(t, root, Options{})
		for dir := range directories {
			if info, err := os.Stat(b.filePath(dir)); err != nil || !info.IsDir() {
				t.Fatalf("%s: %v, %v", dir, info, err)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, contentDir))
	if err != nil || len(entries) != 256 {
		t.Errorf("%d entries of content, %v", len(entries), err)
	}
	if info, err := os.Stat(root); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o007 != 0 {
		t.Errorf("others may enter: %v, %v", info, err)
	}
}

func TestObjectsOutliveTheBucket(t *testing.T) {
	root := t.TempDir()
	b := openDir(t, root, Options{})
	mustPut(t, b, testKey, body(100_000))
	b.Close()
	b = openDir(t, root, Options{})
	wantObject(t, b, testKey, body(100_000))
	wantKeys(t, b, testKey)
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fileURL, err := FileURL(file)
	if err != nil {
		t.Fatal(err)
	}
	for rawURL, says := range map[string]string{
		"s3://bucket":            `"s3"`,
		"":                       `""`,
		"/a/directory":           "file:///directory",
		"://":                    "scheme",
		"file://":                "file:///path",
		"file:relative":          "file:///path",
		"file://data/blobs":      "file://./data/blobs",
		"file:///d?prefix=a/":    `"prefix"`,
		"file:///d?metadata=x":   "metadata",
		"file:///d#e":            "%23",
		"mem://?prefix=a":        `"prefix"`,
		fileURL:                  "there is a file",
		fileURL + "/below":       "",
		"file:///d?a=%zz":        "",
		"file:///dev/null/a/%00": "",
	} {
		b, err := Open(t.Context(), rawURL, Options{})
		if err == nil {
			b.Close()
			t.Errorf("%s opens", rawURL)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, without %s", rawURL, err, says)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, "mem://", Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

func TestURLs(t *testing.T) {
	strange := filepath.Join(t.TempDir(), "a b%41?c=d#é&")
	u, err := FileURL(strange)
	if err != nil {
		t.Fatal(err)
	}
	if b := openURL(t, u, Options{}); b.root != strange {
		t.Errorf("FileURL leads to %s, not to %s", b.root, strange)
	}
	// What gocloud's own documentation has people write.
	if b := openURL(t, u+"?metadata=skip&no_tmp_dir=1&create_dir=1", Options{}); b.root != strange {
		t.Errorf("with parameters: %s", b.root)
	}
	openURL(t, "mem://?nomd5", Options{})

	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if b := openURL(t, "file://./data/blobs", Options{}); b.root != filepath.Join(here, "data", "blobs") {
		t.Errorf("relative: %s", b.root)
	}
	if u, err := FileURL("data/blobs"); err != nil {
		t.Error(err)
	} else if b := openURL(t, u, Options{}); b.root != filepath.Join(here, "data", "blobs") {
		t.Errorf("FileURL of a relative path: %s", b.root)
	}
}

var (
	goodKeys = []string{Marker, "content/00/a-1", "content/ff/0190-AF_z-12345", "content/a0/--0"}
	badKeys  = []string{"", "/", ".", "..", "berth.json/", "/berth.json", "x/berth.json", "Berth.json", "content", "content/", "content/00",
		"content/00/", "content/00/a", "content/00/a-", "content/00/-1", "content/00/a-1/", "content/00/a-1/b-1", "content/00/../a-1",
		"content/00/..-1", "content/0/a-1", "content/000/a-1", "content/0g/a-1", "content/A0/a-1", "content/../a-1", "content//a-1",
		"content/00/a.b-1", "content/00/a-1.attrs", "content/00/a-1.0123456789abcdef.tmp", "content/00/é-1", "content/00/a\x00-1",
		"content/00/a b-1", "content/00/a\\b-1", "../content/00/a-1", "content\\00\\a-1", "content/00/" + strings.Repeat("a", maxName) + "-1"}
)

func TestKeyShapes(t *testing.T) {
	for _, key := range goodKeys {
		if err := checkKey(key); err != nil {
			t.Error(err)
		}
	}
	onEach(t, func(t *testing.T, open func(o Options) *Bucket) {
		b := open(Options{})
		longest := "content/00/" + strings.Repeat("a", maxName-2) + "-1"
		mustPut(t, b, longest, body(1))
		for _, key := range badKeys {
			if _, err := b.Put(t.Context(), key, bytes.NewReader(nil), io.Discard); !errors.Is(err, ErrKey) {
				t.Errorf("Put %q: %v", key, err)
			}
			if _, err := b.Get(t.Context(), key); !errors.Is(err, ErrKey) {
				t.Errorf("Get %q: %v", key, err)
			}
			if err := b.Delete(t.Context(), key); !errors.Is(err, ErrKey) {
				t.Errorf("Delete %q: %v", key, err)
			}
		}
		wantKeys(t, b, longest)
	})
}

// Whatever passes checkKey stays where it should be.
func FuzzKey(f *testing.F) {
	for _, key := range append(goodKeys, badKeys...) {
		f.Add(key)
	}
	b := &Bucket{root: filepath.FromSlash("/root/of/bucket")}
	f.Fuzz(func(t *testing.T, key string) {
		if checkKey(key) != nil {
			return
		}
		rel, err := filepath.Rel(b.root, b.filePath(key))
		if err != nil || filepath.ToSlash(rel) != key || !filepath.IsLocal(rel) || isTemporary(filepath.Split(key)) {
			t.Errorf("%q is at %q (%v)", key, rel, err)
		}
	})
}

func TestSweep(t *testing.T) {
	const stamp = ".18ea2d11d1382c68.tmp"
	b := openDir(t, t.TempDir(), Options{})
	mustPut(t, b, testKey, body(10))
	mustPut(t, b, Marker, body(10))
	stray := []string{Marker + stamp, testKey + stamp, "content/00/x-1" + stamp, "content/ff/y-2" + stamp}
	foreign := []string{"notes.tmp", "other.json" + stamp, "content/00/x-1.tmp", "content/00/x-1.18ea2d11d1382c6.tmp",
		"content/00/x-1.18EA2D11D1382C68.tmp", "content/00/x" + stamp, "content/x-1" + stamp, "content/00/x-1" + stamp + ".old"}
	for _, name := range append(stray, foreign...) {
		if err := os.WriteFile(b.filePath(name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(b.filePath("content/01/dir-1"+stamp), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{len(stray), 0} {
		if n, err := b.Sweep(t.Context()); n != want || err != nil {
			t.Errorf("Sweep: %d, %v, want %d", n, err, want)
		}
	}
	for _, name := range stray {
		if _, err := os.Lstat(b.filePath(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range append(foreign, testKey, Marker, "content/01/dir-1"+stamp) {
		if _, err := os.Lstat(b.filePath(name)); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Sweep(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// What fileblob names its temporary files is not written down anywhere but in its code.
func TestTemporaryNames(t *testing.T) {
	b := openDir(t, t.TempDir(), Options{})
	for _, key := range []string{testKey, Marker} {
		look := func() {
			found := 0
			for dir := range directories {
				entries, err := os.ReadDir(b.filePath(dir))
				if err != nil {
					t.Fatal(err)
				}
				for _, e := range entries {
					if isTemporary(dir, e.Name()) {
						found++
					}
				}
			}
			if found != 1 {
				t.Errorf("%d temporary files during a Put of %s, want 1", found, key)
			}
		}
		if _, err := b.Put(t.Context(), key, &hook{bytes.NewReader(body(10)), 5, look}, io.Discard); err != nil {
			t.Error(err)
		}
	}
}

// A directory that went missing is not made anew, without an fsync, by a Put.
func TestMissingDirectory(t *testing.T) {
	b := openDir(t, t.TempDir(), Options{})
	dir := b.filePath("content/5e")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), testKey, bytes.NewReader(nil), io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Put: %v", err)
	}
	if err := b.Delete(t.Context(), testKey); err == nil {
		t.Error("Delete cannot know that the object is gone")
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory: %v", err)
	}
}
