package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// pushed is an image whose push was acknowledged.
type pushed struct {
	tag             string
	manifest, layer []byte
}

// pusher pushes and deletes images until it is stopped.
type pusher struct {
	url, repo string
	random    *rand.Rand
	quit      chan struct{}
	done      sync.WaitGroup

	mu  sync.Mutex // guards the rest
	ack []pushed
	err error
}

func startPusher(url, repo string, seed uint64) *pusher {
	p := &pusher{url: url, repo: repo, random: rand.New(rand.NewPCG(seed, 1)), quit: make(chan struct{})}
	p.done.Go(p.run)
	return p
}

func (p *pusher) run() {
	for n := 0; ; n++ {
		select {
		case <-p.quit:
			return
		default:
		}
		if err := p.push(n); err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			return
		}
	}
}

// push pushes an image. Each fourth time it also pushes another one and deletes that with its
// layer.
func (p *pusher) push(n int) error {
	layer := make([]byte, 1+p.random.IntN(200_000))
	for i := range layer {
		layer[i] = byte(p.random.Uint32())
	}
	image := pushed{tag: fmt.Sprintf("t%d", n), layer: layer}
	var err error
	if image.manifest, err = pushImage(p.url, p.repo, image.tag, layer); err != nil {
		return err
	}
	p.mu.Lock()
	p.ack = append(p.ack, image)
	p.mu.Unlock()
	if n%4 > 0 {
		return nil
	}
	doomed := append([]byte("doomed"), layer...)
	manifest, err := pushImage(p.url, p.repo, "doomed", doomed)
	if err != nil {
		return err
	}
	for _, path := range []string{"/manifests/" + digestOf(manifest), "/blobs/" + digestOf(doomed)} {
		status, _, answer, err := exchange("DELETE", p.url+"/v2/"+p.repo+path, nil)
		if err := expect(202, "DELETE "+path, status, answer, err); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged returns the images whose push was acknowledged so far.
func (p *pusher) acknowledged() []pushed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ack[:len(p.ack):len(p.ack)]
}

func (p *pusher) stop() error {
	close(p.quit)
	p.done.Wait()
	return p.err
}

// copyTree copies a directory that may change during the copy. Like rsync, it skips files that
// vanish.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if err := copyFile(path, filepath.Join(to, rel)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// TestBackupWhilePushing follows docs/operate.md while clients push and delete. The restored
// registry must have everything that was acknowledged before the backup began.
func TestBackupWhilePushing(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	data := newData(t)
	p := serve(t, data, nil)
	var pushers []*pusher
	for i := range 3 {
		pushers = append(pushers, startPusher(p.url, fmt.Sprintf("team/app%d", i), seed+uint64(i)))
	}
	enough := func(n int) {
		p.await("pushes", func() bool {
			for _, pusher := range pushers {
				if len(pusher.acknowledged()) < n {
					return false
				}
			}
			return true
		})
	}
	enough(10)
	before := make([][]pushed, len(pushers))
	for i, pusher := range pushers {
		before[i] = pusher.acknowledged()
	}
	restored := newData(t)
	if err := os.Mkdir(restored, 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(restored, "berth.db")
	r := berth(t, nil, "backup", "--data", data, file)
	if r.code != 0 || !strings.Contains(r.stdout, file) {
		t.Fatalf("backup: %+v", r)
	}
	if err := copyTree(filepath.Join(data, "blobs"), filepath.Join(restored, "blobs")); err != nil {
		t.Fatal(err)
	}
	enough(len(pushers[0].acknowledged()) + 5) // the server continues after the backup, which has none of these
	for _, pusher := range pushers {
		if err := pusher.stop(); err != nil {
			t.Fatal(err)
		}
	}
	p.stop()

	p = serve(t, restored, nil)
	total := 0
	for i, images := range before {
		for _, image := range images {
			total++
			if err := pullImage(p.url, pushers[i].repo, image.tag, image.manifest, image.layer); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("%d images read back", total)
	missing := 0
	for i, pusher := range pushers {
		for _, image := range pusher.acknowledged()[len(before[i]):] {
			missing += wholeOrAbsent(t, p, pusher.repo, image)
		}
	}
	t.Logf("%d images are newer than the backup", missing)
	if missing == 0 {
		t.Error("the restored registry is not a copy of an earlier moment")
	}
	last := pushers[0].acknowledged()
	if _, err := pushImage(p.url, pushers[0].repo, "again", last[len(last)-1].layer); err != nil {
		t.Error(err)
	}
	p.stop()
}

// wholeOrAbsent checks that an image pushed during or after the backup is complete or absent. It
// returns 1 if it is absent.
func wholeOrAbsent(t *testing.T, p *program, repo string, image pushed) int {
	t.Helper()
	status, _, _ := p.request("GET", "/v2/"+repo+"/manifests/"+image.tag, nil)
	if status == 404 {
		return 1
	}
	if err := pullImage(p.url, repo, image.tag, image.manifest, image.layer); err != nil {
		t.Error(err)
	}
	return 0
}

func TestBackupRefuses(t *testing.T) {
	t.Parallel()
	data := newData(t)
	serve(t, data, nil).stop()
	there := writeFile(t, "there", "precious")
	absent := filepath.Join(t.TempDir(), "copy")
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"to overwrite", []string{"--data", data, there}, there},
		{"without a database", []string{"--data", newData(t), absent}, "there is no registry in "},
		{"in memory", []string{"--storage-bucket", "mem://", absent}, "in memory"},
		{"without a file", []string{"--data", data}, "accepts 1 arg"},
	} {
		if r := berth(t, nil, append([]string{"backup"}, test.args...)...); r.code != 1 || !strings.Contains(r.stderr, test.want) {
			t.Errorf("%s: %+v", test.name, r)
		}
	}
	if text, err := os.ReadFile(there); err != nil || string(text) != "precious" {
		t.Errorf("the file that was there: %q, %v", text, err)
	}
	if _, err := os.Lstat(absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a backup that failed left %s: %v", absent, err)
	}
}
