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
			tr, dir := newFileRegistry(t, Options{})
			tr.push("team/app", "config")
			m, other := tr.image("good", "config"), tr.image("other", "config")
			tr.put("team/app", m, "1")
			tr.put("team/app", other, "2")
			execSQL(t, filepath.Join(filepath.Dir(dir), "berth.db"), damage+` WHERE digest = ?`, m.Digest.String())
			for range 2 {
				got, err := tr.Manifest(ctx, "team/app", tag("1"))
				if err == nil {
					_, err = got.Payload(ctx)
				}
				tr.want(ErrManifestUnknown, err)
			}
			// Also without a read of the payload.
			_, err := tr.Manifest(ctx, "team/app", byDigest(m.Digest))
			tr.want(ErrManifestUnknown, err)
			if n := strings.Count(tr.log.String(), "is damaged"); n != 1 {
				t.Errorf("logged %d times: %s", n, tr.log)
			}
			for _, part := range []string{m.Digest.String(), "team/app"} {
				if !strings.Contains(tr.log.String(), part) {
					t.Errorf("%s is not in the log: %s", part, tr.log)
				}
			}
			tr.wantPayload("team/app", "2", other)
			tr.put("team/app", m)
			tr.wantPayload("team/app", "1", m)
		})
	}
}

// wantPayload checks that a tag resolves to a manifest with its payload.
func (tr *testRegistry) wantPayload(repo, name string, m *manifest.Manifest) {
	tr.t.Helper()
	got, err := tr.Manifest(tr.t.Context(), repo, tag(name))
	tr.must(err)
	payload, err := got.Payload(tr.t.Context())
	tr.must(err)
	if string(payload) != string(m.Payload) || got.MediaType != m.MediaType || got.ArtifactType != m.ArtifactType || got.Size != int64(len(m.Payload)) {
		tr.t.Errorf("%s:%s is %+v %q, want %+v", repo, name, got, payload, m)
	}
}

// signedSchema1 returns a schema 1 manifest without layers, with a signature that is not verified.
func (tr *testRegistry) signedSchema1(tag, signature string) *manifest.Manifest {
	tr.t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	unsigned := tr.unsignedSchema1(tag)
	body := strings.TrimSuffix(string(unsigned.Payload), "}")
	protected := fmt.Sprintf(`{"formatLength":%d,"formatTail":"%s"}`, len(body), encode([]byte("}")))
	m := tr.parse(manifest.MediaTypeSchema1Signed, []byte(fmt.Sprintf(`%s,"signatures":[{"header":{},"signature":"%s","protected":"%s"}]}`,
		body, encode([]byte(signature)), encode([]byte(protected)))))
	if m.Digest != unsigned.Digest {
		tr.t.Fatalf("signed the digest is %s, unsigned %s", m.Digest, unsigned.Digest)
	}
	return m
}

// unsignedSchema1 returns the same manifest without a signature.
func (tr *testRegistry) unsignedSchema1(tag string) *manifest.Manifest {
	tr.t.Helper()
	return tr.parse(manifest.MediaTypeSchema1, []byte(`{"schemaVersion":1,"name":"a","tag":"`+tag+`","fsLayers":[],"history":[]}`))
}

// TestI2Signatures checks that a schema 1 manifest keeps its first signatures, and the media type
// that fits them, until they are damaged.
func TestI2Signatures(t *testing.T) {
	tr, dir := newFileRegistry(t, Options{})
	one, two, none := tr.signedSchema1("1", "one"), tr.signedSchema1("1", "longer than one"), tr.unsignedSchema1("1")
	tr.put("a", one, "1")
	for _, m := range []*manifest.Manifest{two, none} {
		tr.put("a", m, "1")
		tr.payloads.take(rowKey{1, one.Digest})
		tr.wantPayload("a", "1", one)
	}
	execSQL(t, filepath.Join(filepath.Dir(dir), "berth.db"), `UPDATE manifests SET payload = CAST(replace(CAST(payload AS TEXT), '"tag":"1"', '"tag":"2"') AS BLOB)`)
	tr.payloads.take(rowKey{1, one.Digest})
	got, err := tr.Manifest(t.Context(), "a", tag("1"))
	tr.must(err)
	_, err = got.Payload(t.Context())
	tr.want(ErrManifestUnknown, err)
	tr.put("a", two)
	tr.wantPayload("a", "1", two)
}
