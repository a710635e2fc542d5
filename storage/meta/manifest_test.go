package meta

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/berth-registry/berth/manifest"
)

func (s *suite) testManifests() {
	s.fill()
	byTag := func(repo, tag string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.ManifestByTag(ctx, repo, tag) }
	}
	byDigest := func(repo, digest string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.ManifestByDigest(ctx, repo, digest) }
	}
	payload := func(id int64, digest string) func(context.Context) (any, error) {
		return func(ctx context.Context) (any, error) { return s.db.Payload(ctx, id, digest) }
	}
	inA := Manifest{ID: 1001, Digest: "img", MediaType: "image", ArtifactType: "type", Size: 4}
	inB := Manifest{ID: 1003, Digest: "img", MediaType: "image", Size: 4}
	s.reads([]read{
		{"by tag", byTag("a", "v1"), inA, nil},
		{"by the tag of another repository", byTag("b", "latest"), inB, nil},
		{"by a tag that only another has", byTag("b", "v1"), nil, fs.ErrNotExist},
		{"by a tag of no repository", byTag("none", "v1"), nil, fs.ErrNotExist},
		{"by digest", byDigest("a", "img"), inA, nil},
		{"by digest in another repository", byDigest("b", "img"), inB, nil},
		{"by a digest that only another has", byDigest("b", "idx"), nil, fs.ErrNotExist},
		{"by a digest of no repository", byDigest("none", "img"), nil, fs.ErrNotExist},
		{"payload", payload(1001, "img"), []byte("in a"), nil},
		{"payload of none", payload(1, "img"), nil, fs.ErrNotExist},
		{"payload of an id that came again", payload(1001, "idx"), nil, fs.ErrNotExist},
	})
	id := func(repo, digest string) func(*Tx) (any, error) {
		return within(repo, func(r Repo) (any, error) { return r.ManifestID(digest) })
	}
	s.changes([]change{
		{what: "id", call: id("a", "img"), value: int64(1001)},
		{what: "id in another repository", call: id("b", "img"), value: int64(1003)},
		{what: "id of none", call: id("b", "idx"), err: fs.ErrNotExist},
	})
}

// schema1 returns a schema 1 manifest with a signature.
func schema1(signature string) *manifest.Manifest {
	const body = `{"schemaVersion":1`
	protected := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"formatLength":%d,"formatTail":"fQ"}`, len(body)))
	text := fmt.Sprintf(`%s,"signatures":[{"header":{"alg":"ES256"},"signature":%q,"protected":%q}]}`, body, signature, protected)
	return &manifest.Manifest{MediaType: manifest.MediaTypeSchema1Signed, Digest: digest.FromString(body + "}"), Payload: []byte(text)}
}

func (s *suite) testManifestsSaved() {
	s.fill()
	signed := schema1("one")
	good := &manifest.Manifest{MediaType: "m", ArtifactType: "t", Digest: digest.FromString("good"), Payload: []byte("good"),
		Subject: digest.FromString("s"), Annotations: map[string]string{"k": "<v>"}}
	again := &manifest.Manifest{MediaType: "n", ArtifactType: "u", Digest: good.Digest, Payload: good.Payload}
	mended := &manifest.Manifest{MediaType: "m", ArtifactType: "t", Digest: digest.FromString("mended"), Payload: []byte("mended"),
		Subject: digest.FromString("s"), Annotations: map[string]string{"k": "v"}}
	s.exec(`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, subject_digest, annotations, size, created_at, payload)
		VALUES (1014, 1002, $1, 'm', '', 's', 'null', 4, 1, $2)`, digest.FromString("plain").String(), []byte("gone"))
	for id, m := range map[int64]*manifest.Manifest{1011: signed, 1012: good} {
		s.exec(`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, annotations, size, created_at, payload)
			VALUES ($1, 1002, $2, $3, '', 'null', $4, 1, $5)`, id, m.Digest.String(), m.MediaType, len(m.Payload), m.Payload)
	}
	s.exec(`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, annotations, size, created_at, payload)
		VALUES (1013, 1002, $1, 'x', '', 'null', 4, 1, $2)`, mended.Digest.String(), []byte("gone"))

	plain := &manifest.Manifest{MediaType: "m", Digest: digest.FromString("plain"), Payload: []byte("plain")}
	type saved struct{ id, size int64 }
	save := func(repo string, m *manifest.Manifest) func(*Tx) (any, error) {
		return within(repo, func(r Repo) (any, error) {
			id, size, err := r.SaveManifest(m, 70)
			return saved{id, size}, err
		})
	}
	s.changes([]change{
		{what: "new", call: within("b", func(r Repo) (any, error) {
			id, size, err := r.SaveManifest(good, 70)
			if id <= 1014 && err == nil {
				err = errors.New("the id was used before")
			}
			return size, err
		}), value: int64(4), marked: "b", rows: []string{
			fmt.Sprintf(`+manifest b %s annotations={"k":"<v>"} artifact=t created=70 descriptor=%d media=m payload=good size=4 subject=%s`,
				good.Digest, descriptorLength(s.T, good), good.Subject),
		}},
		{what: "new, without a subject", call: within("b", func(r Repo) (any, error) {
			_, size, err := r.SaveManifest(plain, 70)
			return size, err
		}), value: int64(5), marked: "b", rows: []string{
			fmt.Sprintf("+manifest b %s annotations=null artifact='' created=70 descriptor=%d media=m payload=plain size=5", plain.Digest, descriptorLength(s.T, plain)),
		}},
		{what: "with another media type", call: save("a", again), value: saved{1012, 4}, marked: "a",
			rows: []string{fmt.Sprintf("manifest a %s media=n", good.Digest)}},
		{what: "with other signatures", call: save("a", schema1("other")), value: saved{1011, int64(len(signed.Payload))}, marked: "a"},
		{what: "without a subject, whose payload was not that of its digest", call: save("a", plain), value: saved{1014, 5}, marked: "a", rows: []string{
			fmt.Sprintf("manifest a %s descriptor=%d payload=plain size=5 subject=", plain.Digest, descriptorLength(s.T, plain)),
		}},
		{what: "whose payload was not that of its digest", call: save("a", mended), value: saved{1013, 6}, marked: "a", rows: []string{
			fmt.Sprintf(`manifest a %s annotations={"k":"v"} artifact=t descriptor=%d media=m payload=mended size=6 subject=%s`,
				mended.Digest, descriptorLength(s.T, mended), mended.Subject),
		}},
	})
}

func (s *suite) testManifestReferences() {
	s.fill()
	add := func(links ...manifest.Link) func(*Tx) (any, error) {
		return nothingWithin("a", func(r Repo) error { return r.AddReferences(1002, links) })
	}
	by := func(repo, digest string, child bool) func(*Tx) (any, error) {
		return within(repo, func(r Repo) (any, error) { return r.ReferencedBy(digest, child) })
	}
	s.changes([]change{
		{what: "add two", call: add(manifest.Link{Digest: "one"}, manifest.Link{Digest: "any", Child: true}), marked: "a",
			rows: []string{"+reference a idx any child=1", "+reference a idx one child=0"}},
		{what: "add one that is there", call: add(manifest.Link{Digest: "img"}), marked: "a"},
		{what: "add none", call: add(), marked: "a"},
		{what: "add one to no content", call: add(manifest.Link{Digest: "none"}), err: errRefused},

		{what: "by an index", call: by("a", "img", true), value: "idx"},
		{what: "by an image", call: by("a", "one", false), value: "img"},
		{what: "by an image, but it is an index", call: by("a", "img", false), err: fs.ErrNotExist},
		{what: "in another repository", call: by("b", "img", true), err: fs.ErrNotExist},
		{what: "by none", call: by("a", "idx", true), err: fs.ErrNotExist},
	})
}

func (s *suite) testManifestsDeleted() {
	s.fill()
	remove := func(repo string, id int64, digest string) func(*Tx) (any, error) {
		return nothingWithin(repo, func(r Repo) error { return r.DeleteManifest(id, digest, 70) })
	}
	s.changes([]change{{what: "a tagged one", call: remove("a", 1002, "idx"), err: errRefused}})
	s.exec(`DELETE FROM tags`)
	s.changes([]change{
		{what: "an index with a missing child", call: remove("a", 1002, "idx"), marked: "a", rows: []string{
			"-content a idx", "-content a wait", "-manifest a idx", "-reference a idx img", "-reference a idx wait", "content a img touched=70",
		}},
		{what: "one that an index lists", call: remove("a", 1001, "img"), marked: "a", rows: []string{
			"-manifest a img", "-reference a img many", "-reference a img one",
			"content a img manifest=", "content a many touched=70", "content a one touched=70",
		}},
	})
	s.exec(`UPDATE repository_contents SET blob_id = 1001 WHERE digest = 'img' AND repository_id = 1001`)
	s.exec(`INSERT INTO manifest_references (repository_id, manifest_id, digest, child) VALUES (1001, 1003, 'wait', false)`)
	s.exec(`INSERT INTO manifests (id, repository_id, digest, media_type, artifact_type, annotations, size, created_at, payload)
		VALUES (1011, 1001, 'second', '', '', 'null', 4, 1, $1)`, []byte("x"))
	s.exec(`INSERT INTO manifest_references (repository_id, manifest_id, digest, child) VALUES (1001, 1011, 'wait', false)`)
	s.changes([]change{
		{what: "one that is a blob too, and shares a missing link", call: remove("b", 1003, "img"), marked: "b", rows: []string{
			"-manifest b img", "-reference b img one", "-reference b img wait",
			"content b img manifest=", "content b one touched=70", "content b wait touched=70",
		}},
	})
}
