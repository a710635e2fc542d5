package meta

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/berth-registry/berth/manifest"

	"github.com/berth-registry/berth/internal/db/dbtest"
)

const (
	testRepository = "team/app"
	testSubject    = "sha256:5555555555555555555555555555555555555555555555555555555555555555"
)

var ofSubject = ReferrerQuery{Repository: testRepository, Subject: testSubject}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// insertOld inserts a manifest as programs for schema 2 do.
func insertOld(t *testing.T, db *DB, m *manifest.Manifest) {
	t.Helper()
	annotations, err := json.Marshal(m.Annotations)
	must(t, err)
	must(t, db.Tx(context.Background(), func(tx *Tx) error {
		repo, err := tx.EnsureRepo(testRepository)
		if err != nil {
			return err
		}
		if _, err := tx.exec(`UPDATE repositories SET listed_at = 1 WHERE id = $1`, repo.id); err != nil {
			return err
		}
		_, err = tx.exec(`INSERT INTO manifests
			(repository_id, digest, media_type, artifact_type, subject_digest, annotations, size, created_at, payload)
			VALUES ($1, $2, $3, $4, NULLIF($5, ''), $6, $7, 1, $8)`, repo.id, m.Digest.String(), m.MediaType, m.ArtifactType,
			m.Subject.String(), string(annotations), len(m.Payload), m.Payload)
		return err
	}))
}

// oldManifests are referrers that show how texts are written.
func oldManifests() (all []*manifest.Manifest) {
	printable := ""
	for c := ' '; c <= '~'; c++ {
		printable += string(c)
	}
	controls := ""
	for c := rune(0); c < ' '; c++ {
		controls += string(c)
	}
	fits := manifest.MaxAnnotationsSize - len(`{"k":""}`)
	for i, annotations := range []map[string]string{
		nil, {}, {"": ""},
		{"html": "<a href=\"x\">&amp;</a>", "<&>": "<&>"},
		{"escapes": `\u003c \\u003c \\\u003c \\\\u003c <\u003e \<\>\& \u0026`, "quotes": `"\"\\"`},
		{"controls": controls + "\x7f", "lines": "\u2028\u2029", "more": "ä€𝄞 \ufffd"},
		{printable: printable},
		{"k": strings.Repeat("x", fits)},
		{"k": strings.Repeat("x", fits+1)},
		{"k": strings.Repeat("<", fits)},
		{"k": strings.Repeat("<", fits+1)},
		{"k": strings.Repeat(`\`, fits/2)},
		{"k": strings.Repeat("<", 4<<20)},
	} {
		for j, artifactType := range []string{"", "application/x", printable} {
			mediaType := manifest.MediaTypeImage
			if j == 2 {
				mediaType = printable
			}
			payload := fmt.Appendf(nil, "%d %d", i, j)
			all = append(all, &manifest.Manifest{MediaType: mediaType, ArtifactType: artifactType, Annotations: annotations,
				Subject: testSubject, Payload: payload, Digest: digest.FromBytes(payload)})
		}
	}
	return all
}

// descriptorSize returns the column of a manifest; -1 for NULL.
func descriptorSize(t *testing.T, db *DB, d digest.Digest) (size int) {
	t.Helper()
	must(t, db.queryRow(t.Context(), `SELECT COALESCE(descriptor_size, -1) FROM manifests WHERE digest = $1`, d.String()).Scan(&size))
	return size
}

// requireListed requires that a list has the descriptor of each manifest.
func requireListed(t *testing.T, db *DB, manifests []*manifest.Manifest) {
	t.Helper()
	listed := make(map[digest.Digest]string)
	e, err := db.Extent(t.Context(), ofSubject, "", math.MaxInt, math.MaxInt)
	must(t, err)
	for last := ""; last != e.End; {
		page, err := db.Referrers(t.Context(), ofSubject, last, e)
		must(t, err)
		for _, d := range page {
			text, err := d.JSON()
			must(t, err)
			listed[d.Digest], last = string(text), d.Digest.String()
		}
	}
	if len(listed) != len(manifests) {
		t.Errorf("%d of %d are listed", len(listed), len(manifests))
	}
	for _, m := range manifests {
		d, err := m.Descriptor()
		must(t, err)
		text, err := d.JSON()
		must(t, err)
		if listed[m.Digest] != string(text) {
			t.Errorf("%s: got %.300s, want %.300s", m.Payload, listed[m.Digest], text)
		}
	}
}

// TestMigrateDescriptors migrates a database of schema 2: the lists and the lengths are those that
// this program would have written itself.
func TestMigrateDescriptors(t *testing.T) {
	url := dbtest.File(t)
	old, stop := openOld(t, url, 2)
	manifests := oldManifests()
	for _, m := range manifests {
		insertOld(t, old, m)
	}
	image := &manifest.Manifest{MediaType: manifest.MediaTypeImage, Annotations: map[string]string{"a": "<"}, Digest: digest.FromString("image"), Payload: []byte("image")}
	insertOld(t, old, image)
	stop()

	db := openDB(t, url)
	requireListed(t, db, manifests)
	for _, m := range manifests {
		d, err := m.Descriptor()
		must(t, err)
		text, err := d.JSON()
		must(t, err)
		if size := descriptorSize(t, db, m.Digest); size != len(text) {
			t.Errorf("%s: the length is %d, want %d", m.Payload, size, len(text))
		}
		payload, err := db.Payload(t.Context(), rowOf(t, db, m).ID, m.Digest.String())
		must(t, err)
		if string(payload) != string(m.Payload) {
			t.Errorf("the payload is %q, want %q", payload, m.Payload)
		}
	}
	if size := descriptorSize(t, db, image.Digest); size != -1 {
		t.Errorf("a manifest without a subject has the length %d", size)
	}
	var check string
	must(t, db.queryRow(t.Context(), `PRAGMA integrity_check`).Scan(&check))
	if check != "ok" {
		t.Error(check)
	}
}

func rowOf(t *testing.T, db *DB, m *manifest.Manifest) Manifest {
	t.Helper()
	row, err := db.ManifestByDigest(t.Context(), testRepository, m.Digest.String())
	must(t, err)
	return row
}

// TestSaveDescriptors: what this program writes has the length that the list sends.
func TestSaveDescriptors(t *testing.T) {
	db := openDB(t, dbtest.File(t))
	manifests := oldManifests()
	for _, m := range manifests {
		must(t, db.Tx(t.Context(), func(tx *Tx) error {
			repo, err := tx.EnsureRepo(testRepository)
			if err != nil {
				return err
			}
			_, _, err = repo.SaveManifest(m, 1)
			return err
		}))
		d, err := m.Descriptor()
		must(t, err)
		text, err := d.JSON()
		must(t, err)
		if size := descriptorSize(t, db, m.Digest); size != len(text) {
			t.Errorf("%s: the length is %d, want %d", m.Payload, size, len(text))
		}
	}
	requireListed(t, db, manifests)
}

// TestReferrersPlans: lengths are read from an index alone, and nothing is sorted.
func TestReferrersPlans(t *testing.T) {
	db := openDB(t, dbtest.File(t))
	for _, c := range []struct {
		query, want string
		args        int
	}{
		{lengthsSQL, "USING COVERING INDEX manifests_subject (", 6},
		{lengthsOfTypeSQL, "USING COVERING INDEX manifests_subject_type (", 7},
		{descriptorsSQL, "USING INDEX manifests_subject (", 6},
		{descriptorsOfTypeSQL, "USING INDEX manifests_subject_type (", 7},
	} {
		rows, err := db.query(t.Context(), `EXPLAIN QUERY PLAN `+c.query, make([]any, c.args)...)
		must(t, err)
		var plan strings.Builder
		for rows.Next() {
			var id, parent, unused int
			var step string
			must(t, rows.Scan(&id, &parent, &unused, &step))
			plan.WriteString(step + "\n")
		}
		if got := plan.String(); !strings.Contains(got, c.want) || strings.Contains(got, "TEMP B-TREE") {
			t.Errorf("%s\nhas the plan\n%s, want %s", c.query, got, c.want)
		}
	}
}

// TestManyReferrers has a list of 40,000 entries: one answer of 4 MiB takes a number of
// queries that follows its length, each of which is small.
func TestManyReferrers(t *testing.T) {
	const entries, answer = 40_000, 4 << 20
	text, err := manifest.Descriptor{MediaType: manifest.MediaTypeImage, Digest: testSubject, Size: 1}.JSON()
	must(t, err)
	size := len(text)
	db := openDB(t, dbtest.File(t))
	must(t, db.Tx(t.Context(), func(tx *Tx) error {
		repo, err := tx.EnsureRepo(testRepository)
		if err != nil {
			return err
		}
		_, err = tx.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $2)
			INSERT INTO manifests (repository_id, digest, media_type, artifact_type, subject_digest, annotations, descriptor_size, size, created_at, payload)
			SELECT $1, printf('sha256:%064x', i * 7919 % 1000003), $3, '', $4, 'null', $5, 1, 1, 'x' FROM n`,
			repo.id, entries, manifest.MediaTypeImage, testSubject, size)
		return err
	}))
	listed, answers := 0, 0
	for last, more := "", true; more; answers++ {
		before := queries(t, db)
		e, err := db.Extent(t.Context(), ofSubject, last, math.MaxInt, answer)
		must(t, err)
		if n := queries(t, db) - before; n > answer/size/lengthsStep+2 {
			t.Errorf("the extent of an answer took %d queries", n)
		}
		for last != e.End {
			page, err := db.Referrers(t.Context(), ofSubject, last, e)
			must(t, err)
			if len(page) == 0 || len(page) > referrersPage/size {
				t.Fatalf("a page of %d", len(page))
			}
			listed, last = listed+len(page), page[len(page)-1].Digest.String()
		}
		more = e.More
	}
	if listed != entries || answers != 2 {
		t.Errorf("%d of %d are listed in %d answers", listed, entries, answers)
	}
}

// queries counts the queries of readers so far.
func queries(t *testing.T, db *DB) int {
	t.Helper()
	all := prometheus.NewRegistry()
	all.MustRegister(db.db.Collectors()...)
	families, err := all.Gather()
	must(t, err)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == "berth_sql_seconds" && m.GetLabel()[0].GetValue() == "read" {
				return int(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatal("no metric counts the queries")
	return 0
}

// descriptorLength returns the length of a manifest's descriptor in JSON.
func descriptorLength(t *testing.T, m *manifest.Manifest) int {
	t.Helper()
	d, err := m.Descriptor()
	must(t, err)
	text, err := d.JSON()
	must(t, err)
	return len(text)
}
