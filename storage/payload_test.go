package storage

import (
	"database/sql"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/berth-registry/berth/manifest"
)

// execSQL changes rows on a connection that the registry does not know.
func execSQL(t *testing.T, database, query string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+database)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
}

// TestI2RottenPayloadIsHealed checks that a payload that does not have its digest is not served,
// and that a push heals it.
func TestI2RottenPayloadIsHealed(t *testing.T) {
	for name, damage := range map[string]string{
		"a byte":      `UPDATE manifests SET payload = CAST(replace(CAST(payload AS TEXT), 'good', 'evil') AS BLOB)`,
		"its end":     `UPDATE manifests SET payload = substr(payload, 1, 10)`,
		"all":         `UPDATE manifests SET payload = x''`,
		"its type":    `UPDATE manifests SET payload = x'00', media_type = 'application/vnd.docker.distribution.manifest.v1+prettyjws'`,
		"what it has": `UPDATE manifests SET payload = x'00', annotations = '{"note":"evil"}', artifact_type = 'evil', size = 1`,
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			w, dir := newFileWorld(t, Options{})
			w.push("team/app", "config")
			m, other := w.image("good", "config"), w.image("other", "config")
			w.put("team/app", m, "1")
			w.put("team/app", other, "2")
			execSQL(t, filepath.Join(filepath.Dir(dir), "berth.db"), damage+` WHERE digest = ?`, m.Digest.String())
			for range 2 {
				got, err := w.Manifest(ctx, "team/app", tag("1"))
				if err == nil {
					_, err = got.Payload(ctx)
				}
				w.want(ErrManifestUnknown, err)
			}
			// Also without a read of the payload.
			_, err := w.Manifest(ctx, "team/app", byDigest(m.Digest))
			w.want(ErrManifestUnknown, err)
			if n := strings.Count(w.log.String(), "is damaged"); n != 1 {
				t.Errorf("logged %d times: %s", n, w.log)
			}
			for _, part := range []string{m.Digest.String(), "team/app"} {
				if !strings.Contains(w.log.String(), part) {
					t.Errorf("%s is not in the log: %s", part, w.log)
				}
			}
			w.wantPayload("team/app", "2", other)
			w.put("team/app", m)
			w.wantPayload("team/app", "1", m)
		})
	}
}

// wantPayload checks that a tag resolves to a manifest with its payload.
func (w *world) wantPayload(repo, name string, m *manifest.Manifest) {
	w.t.Helper()
	got, err := w.Manifest(w.t.Context(), repo, tag(name))
	w.must(err)
	payload, err := got.Payload(w.t.Context())
	w.must(err)
	if string(payload) != string(m.Payload) || got.MediaType != m.MediaType || got.ArtifactType != m.ArtifactType || got.Size != int64(len(m.Payload)) {
		w.t.Errorf("%s:%s is %+v %q, want %+v", repo, name, got, payload, m)
	}
}

// signedSchema1 returns a schema 1 manifest without layers, with a signature that is not verified.
func (w *world) signedSchema1(tag, signature string) *manifest.Manifest {
	w.t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	unsigned := w.unsignedSchema1(tag)
	body := strings.TrimSuffix(string(unsigned.Payload), "}")
	protected := fmt.Sprintf(`{"formatLength":%d,"formatTail":"%s"}`, len(body), encode([]byte("}")))
	m := w.parse(manifest.MediaTypeSchema1Signed, []byte(fmt.Sprintf(`%s,"signatures":[{"header":{},"signature":"%s","protected":"%s"}]}`,
		body, encode([]byte(signature)), encode([]byte(protected)))))
	if m.Digest != unsigned.Digest {
		w.t.Fatalf("signed the digest is %s, unsigned %s", m.Digest, unsigned.Digest)
	}
	return m
}

// unsignedSchema1 returns the same manifest without a signature.
func (w *world) unsignedSchema1(tag string) *manifest.Manifest {
	w.t.Helper()
	return w.parse(manifest.MediaTypeSchema1, []byte(`{"schemaVersion":1,"name":"a","tag":"`+tag+`","fsLayers":[],"history":[]}`))
}

// TestI2Signatures checks that a schema 1 manifest keeps its first signatures, and the media type
// that fits them, until they are damaged.
func TestI2Signatures(t *testing.T) {
	w, dir := newFileWorld(t, Options{})
	one, two, none := w.signedSchema1("1", "one"), w.signedSchema1("1", "longer than one"), w.unsignedSchema1("1")
	w.put("a", one, "1")
	for _, m := range []*manifest.Manifest{two, none} {
		w.put("a", m, "1")
		w.payloads.take(1)
		w.wantPayload("a", "1", one)
	}
	execSQL(t, filepath.Join(filepath.Dir(dir), "berth.db"), `UPDATE manifests SET payload = CAST(replace(CAST(payload AS TEXT), '"tag":"1"', '"tag":"2"') AS BLOB)`)
	w.payloads.take(1)
	got, err := w.Manifest(t.Context(), "a", tag("1"))
	w.must(err)
	_, err = got.Payload(t.Context())
	w.want(ErrManifestUnknown, err)
	w.put("a", two)
	w.wantPayload("a", "1", two)
}
