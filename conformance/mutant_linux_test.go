package conformance

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// mutant is Berth with one fsync taken out. Each scenario finds nothing wrong
// with Berth as it is, and finds its mutants.
type mutant struct {
	name     string
	file     string // from the top of the module
	old, new string // old stands there once
	scenario func(t *testing.T, program string) error
}

func mutants() []mutant {
	const put, del, durable = "storage/bucket/dir/put.go", "storage/bucket/dir/delete.go", "internal/durable/durable.go"
	const sqlite = "internal/db/sqlite/sqlite.go"
	const full = `"synchronous(FULL)",            // each commit syncs the log`
	return []mutant{
		{"an object's bytes", put, `err := o.disk.sync(o.file); err != nil { // durable: file`, `err := error(nil); err != nil {`, cutAfterPush},
		{"a deletion", del, `s.disk.syncDir(opened) // durable: deletion`, `error(nil)`, cutAfterDeletion},
		{"a commit", sqlite, full, `"synchronous(NORMAL)",`, cutAfterTag},
		{"any sync of rows", sqlite, full, `"synchronous(OFF)",`, cutAfterTag},
		{"a backup's name", durable, `return SyncDir(filepath.Dir(file)) // durable: published name`, `return nil`, cutAfterBackup},
		// ext4 writes its journal in order: the first fsync of anything takes with
		// it every name that was made before, so no cut can show these. Other
		// file systems promise no such thing, and the order of the calls is what
		// is tested.
		{"an object's name", put, `wrapNoSpace(o.disk.syncDir(o.dir)) // durable: directory`, `error(nil)`, traceNew},
		{"any directory", durable, `errors.Join(SyncOpenDir(dir), dir.Close())`, `dir.Close()`, traceNew},
		{"a new directory", durable, `return SyncDir(parent) // durable: made directory`, `return nil`, traceNew},
		{"the directories of objects", durable, `return SyncDir(parent) // durable: all directories`, `return nil`, traceNew},
		{"an old directory", durable, `err := SyncDir(parent) // durable: old directory`, `err := error(nil)`, traceMade},
	}
}

// twice are fsyncs that have no mutant, because from outside they cannot be told
// from another one that a start makes in any case.
func twice() map[string]string {
	return map[string]string{
		"internal/db/sqlite/sqlite.go: return durable.SyncDir(dir)":                                                 "SQLite syncs the directory of a new database itself",
		"internal/durable/durable.go: if err := syncFile(temp); err != nil { // durable: published file":            "SQLite syncs what VACUUM INTO writes",
		"internal/durable/durable.go: return errors.Join(f.Sync(), f.Close())":                                      "what the one before calls",
		"storage/bucket/dir/disk.go: func (system) sync(f *os.File) error { return f.Sync() }":                      "what the others call",
		"storage/bucket/dir/disk.go: func (system) syncDir(dir *os.File) error { return durable.SyncOpenDir(dir) }": "what the others call",
		"internal/durable/sync_unix.go: return dir.Sync()":                                                          "what the others call",
	}
}

// TestMutants takes out each fsync and requires that its scenario notices.
func TestMutants(t *testing.T) {
	needDisks(t)
	sound := map[string]bool{}
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) {
			program := m.build(t)
			// Berth as it is has to pass where the mutant is to fail.
			if key := fmt.Sprintf("%p", m.scenario); !sound[key] {
				if err := m.scenario(t, berthBinary(t)); err != nil {
					t.Fatalf("without a mutation: %v", err)
				}
				sound[key] = true
			}
			err := m.scenario(t, program)
			if err == nil {
				t.Fatal("nobody notices that it is not synced")
			}
			t.Logf("noticed: %v", err)
		})
	}
}

// build compiles the mutant.
func (m mutant) build(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", m.file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has %q %d times, want once: the table of mutants is out of date", m.file, m.old, n)
	}
	dir := t.TempDir()
	changed, overlay, program := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "berth")
	plan, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.WriteFile(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600),
		os.WriteFile(overlay, plan, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	run(t, []string{"CGO_ENABLED=0"}, "go", "build", "-C", "..", "-overlay", overlay, "-o", program, "./cmd/berth")
	return program
}

// TestEverySyncHasItsMutant reads the source for fsyncs that nothing here tests.
func TestEverySyncHasItsMutant(t *testing.T) {
	call := regexp.MustCompile(`\.[sS]ync\(|\b([sS]ync(Dir|File)|SyncOpenDir)\(|synchronous\(`)
	known, used := twice(), map[string]bool{}
	for _, top := range []string{"internal", "storage", "cmd/berth", "api", "auth", "manifest"} {
		err := filepath.WalkDir(filepath.Join("..", top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			file, err := filepath.Rel("..", path)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(source)) {
				line = strings.TrimSpace(line)
				key := filepath.ToSlash(file) + ": " + line
				switch {
				case !call.MatchString(line), strings.HasPrefix(line, "//"), line == "syncDir(dir *os.File) error", strings.HasPrefix(line, "func SyncDir("), strings.HasPrefix(line, "func SyncOpenDir("),
					strings.HasPrefix(line, "func syncFile("), strings.Contains(line, "add(\"synchronous(FULL)\""):
				case known[key] != "":
					used[key] = true
				case !mutated(filepath.ToSlash(file), line):
					t.Errorf("%s: an fsync that no mutant takes out: give it one, or say why it has none", key)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for key := range known {
		if !used[key] {
			t.Errorf("%s: is not there any more", key)
		}
	}
}

// mutated reports whether a mutant changes the line.
func mutated(file, line string) bool {
	for _, m := range mutants() {
		if m.file == file && strings.Contains(line, m.old) {
			return true
		}
	}
	return false
}

// settled makes all that the machine wrote so far durable, so that a scenario
// sees the one write that follows.
func (m *machine) settled() {
	m.t.Helper()
	for _, d := range m.disks("both") {
		f, err := os.Open(d.dir)
		if err != nil {
			m.t.Fatal(err)
		}
		if err := errors.Join(unix.Syncfs(int(f.Fd())), f.Close()); err != nil {
			m.t.Fatal(err)
		}
	}
}

// lose cuts the power of a disk at once and starts again.
func (m *machine) lose(d *disk) error {
	m.t.Helper()
	if err := d.cut(); err != nil {
		m.t.Fatal(err)
	}
	m.Kill()
	d.reboot()
	return m.start()
}

// cuts is how often a scenario cuts the power. One is enough for each mutant
// that was seen so far.
const cuts = 3

// cutAfterPush cuts the power of the bucket right after the 201 of a blob.
func cutAfterPush(t *testing.T, program string) error {
	m := newMachine(t, program)
	call := newCaller(m.URL)
	for n := range uint64(cuts) {
		c := newContent(n, 100_000, digest.SHA256)
		m.settled()
		if a := call.post("team/app", c); a.status != http.StatusCreated {
			t.Fatalf("push: %v", a)
		}
		if err := m.lose(m.bytes); err != nil {
			return err
		}
		if err := requireHeld(call, place{blobKind, "team/app", c.digest.String()}); err != nil {
			return err
		}
	}
	return nil
}

// requireHeld says in what way a place does not hold what it should.
func requireHeld(call *caller, p place) error {
	value, wrong, err := call.hold(p, "")
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", p, err)
	case wrong != "":
		return fmt.Errorf("%s: wrong: %s", p, wrong)
	case value == absent:
		return fmt.Errorf("%s: lost", p)
	}
	return nil
}

// cutAfterTag cuts the power of the rows right after the 201 of a manifest.
func cutAfterTag(t *testing.T, program string) error {
	m := newMachine(t, program)
	call := newCaller(m.URL)
	config := newContent(1, 100, digest.SHA256)
	if a := call.post("team/app", config); a.status != http.StatusCreated {
		t.Fatalf("push: %v", a)
	}
	for n := range cuts {
		payload := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[],"annotations":{"n":"%d"}}`,
			ociManifest, ociConfig, config.digest, config.size, n)
		tag := fmt.Sprintf("v%d", n)
		m.settled()
		if a := call.putManifest("team/app", tag, ociManifest, payload); a.status != http.StatusCreated {
			t.Fatalf("push: %v", a)
		}
		if err := m.lose(m.rows); err != nil {
			return err
		}
		if err := requireHeld(call, place{tagKind, "team/app", tag}); err != nil {
			return err
		}
	}
	return nil
}

// cutAfterDeletion gives an upload up, waits until the row of its object is
// gone, and cuts the power of the bucket: the object must not come back.
func cutAfterDeletion(t *testing.T, program string) error {
	m := newMachine(t, program)
	call := newCaller(m.URL)
	for n := range uint64(cuts) {
		c := newContent(n, 100_000, digest.SHA256)
		up, _ := call.open("team/app", "")
		a := call.patch(up, c, 0, c.size, true)
		if a.status != http.StatusAccepted {
			t.Fatalf("PATCH: %v", a)
		}
		key := m.uploading()
		m.settled()
		if a := call.do(request{method: "DELETE", path: call.follow(a).url}); a.status != http.StatusNoContent {
			t.Fatalf("DELETE: %v", a)
		}
		for end := time.Now().Add(time.Minute); m.rowOf(key); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the row of %s is still there", key)
			}
		}
		if err := m.lose(m.bytes); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(m.bucket(), key)); err == nil {
			return fmt.Errorf("object without a row: %s came back", key)
		}
	}
	return nil
}

// ask reads one value from the database of the running server.
func (m *machine) ask(dest any, query string, args ...any) error {
	m.t.Helper()
	db, err := sql.Open("sqlite", "file:"+m.database()+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		m.t.Fatal(err)
	}
	return errors.Join(db.QueryRow(query, args...).Scan(dest), db.Close())
}

// uploading returns the key of the only object that belongs to an upload.
func (m *machine) uploading() string {
	m.t.Helper()
	var key string
	if err := m.ask(&key, `SELECT key FROM objects WHERE upload_id IS NOT NULL`); err != nil {
		m.t.Fatal(err)
	}
	return key
}

// rowOf reports whether an object has a row.
func (m *machine) rowOf(key string) bool {
	m.t.Helper()
	var n int
	if err := m.ask(&n, `SELECT count(*) FROM objects WHERE key = ?`, key); err != nil {
		m.t.Fatal(err)
	}
	return n > 0
}

// cutAfterBackup cuts the power of the disk that a backup was written to.
func cutAfterBackup(t *testing.T, program string) error {
	m := newMachine(t, program)
	if a := newCaller(m.URL).post("team/app", newContent(1, 100, digest.SHA256)); a.status != http.StatusCreated {
		t.Fatalf("push: %v", a)
	}
	for n := range cuts {
		file := filepath.Join(m.bytes.dir, fmt.Sprintf("backup-%d.db", n))
		m.settled()
		cmd := exec.Command(program, "backup", "--data", m.Data, file)
		cmd.Env = append(os.Environ(), "BERTH_STORAGE_BUCKET=file://"+m.bucket())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("backup: %v\n%s", err, out)
		}
		if err := m.lose(m.bytes); err != nil {
			return err
		}
		if _, err := os.Stat(file); err != nil {
			return err
		}
		db, err := sql.Open("sqlite", "file:"+file+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		var blobs int
		if err := errors.Join(db.QueryRow(`SELECT count(*) FROM blobs`).Scan(&blobs), db.Close()); err != nil || blobs != 1 {
			return fmt.Errorf("the backup has %d blobs: %w", blobs, err)
		}
	}
	return nil
}
