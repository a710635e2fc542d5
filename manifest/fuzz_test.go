package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The grammar of the distribution spec, literally.
var (
	specName = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	specTag  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func FuzzName(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		err := CheckName(s)
		if err != nil && !errors.Is(err, ErrNameInvalid) {
			t.Errorf("%q: %v is no ErrNameInvalid", s, err)
		}
		if want := len(s) <= 255 && specName.MatchString(s); (err == nil) != want {
			t.Errorf("%q: got %v, the spec says %v", s, err, want)
		}
	})
}

func FuzzReference(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseReference(s)
		if err != nil {
			if r != (Reference{}) {
				t.Errorf("%q: %v, and yet %+v", s, err, r)
			}
			if strings.Contains(s, ":") != errors.Is(err, ErrDigestInvalid) || strings.Contains(s, ":") == errors.Is(err, ErrTagInvalid) {
				t.Errorf("%q: %v has the wrong kind", s, err)
			}
		} else if r.String() != s || (r.Tag == "") == (r.Digest == "") {
			t.Errorf("%q became %+v", s, r)
		}
		if want := specTag.MatchString(s); (CheckTag(s) == nil) != want {
			t.Errorf("%q: got %v, the spec says %v", s, CheckTag(s), want)
		}
		if r.Tag != "" {
			named, err := reference.WithName("r.invalid/a")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := reference.WithTag(named, s); err != nil {
				t.Errorf("%q: accepted, but reference says %v", s, err)
			}
		}
	})
}

func FuzzDigest(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil && (d != "" || !errors.Is(err, ErrDigestInvalid)) {
			t.Errorf("%q: %q, %v", s, d, err)
		}
		known := strings.HasPrefix(s, "sha256:") || strings.HasPrefix(s, "sha512:")
		if want := known && digest.Digest(s).Validate() == nil; (err == nil) != want {
			t.Errorf("%q: got %v, go-digest says %v", s, err, want)
		}
	})
}

// FuzzManifest searches for documents that Parse accepts although encoding/json reads something
// else.
func FuzzManifest(f *testing.F) {
	f.Fuzz(func(t *testing.T, contentType string, payload []byte) {
		m, err := Parse(contentType, payload, "")
		if err != nil {
			if m != nil || !errors.Is(err, ErrManifestInvalid) && !errors.Is(err, ErrManifestUnverified) {
				t.Errorf("got %+v, %v", m, err)
			}
			if len(err.Error()) > 4000 {
				t.Errorf("a message of %d bytes", len(err.Error()))
			}
			return
		}
		if !bytes.Equal(m.Payload, payload) || m.Digest.Validate() != nil {
			t.Errorf("got %+v", m)
		}
		again, err := Parse(m.MediaType, payload, m.Digest)
		if err != nil || !slices.Equal(m.Links, again.Links) {
			t.Errorf("the second time: %+v, %v", again, err)
		}
		checkAgainstJSON(t, m)
	})
}

// checkAgainstJSON compares a manifest with what encoding/json finds in its payload.
func checkAgainstJSON(t *testing.T, m *Manifest) {
	var doc struct {
		MediaType    string
		ArtifactType string
		Config       *v1.Descriptor
		Layers       []v1.Descriptor
		Blobs        []v1.Descriptor
		Manifests    []v1.Descriptor
		FSLayers     []struct{ BlobSum digest.Digest } `json:"fsLayers"`
		Subject      *v1.Descriptor
		Annotations  map[string]string
	}
	if json.Unmarshal(m.Payload, &doc) != nil {
		return // the error is in a part that Parse ignores
	}
	want := make(map[digest.Digest]int64)
	add := func(descs []v1.Descriptor) {
		for _, d := range descs {
			want[d.Digest] = d.Size
		}
	}
	artifactType := doc.ArtifactType
	switch m.MediaType {
	case MediaTypeImage, MediaTypeDockerImage:
		if artifactType == "" {
			artifactType = doc.Config.MediaType
		}
		add([]v1.Descriptor{*doc.Config})
		add(doc.Layers)
	case MediaTypeIndex, MediaTypeDockerList:
		add(doc.Manifests)
	case MediaTypeArtifact:
		add(doc.Blobs)
	default:
		for _, layer := range doc.FSLayers {
			want[layer.BlobSum] = -1
		}
	}
	got := make(map[digest.Digest]int64)
	for _, link := range m.Links {
		got[link.Digest] = link.Size
	}
	if !maps.Equal(got, want) || len(got) != len(m.Links) {
		t.Errorf("links %v, encoding/json reads %v", m.Links, want)
	}
	if !strings.Contains(m.MediaType, ".oci.") {
		return // Docker's manifests have none of the fields below
	}
	var subject digest.Digest
	if doc.Subject != nil {
		subject = doc.Subject.Digest
	}
	if m.Subject != subject || m.ArtifactType != artifactType || !maps.Equal(m.Annotations, doc.Annotations) {
		t.Errorf("subject %q, artifactType %q, annotations %q; encoding/json reads %q, %q, %q",
			m.Subject, m.ArtifactType, m.Annotations, subject, artifactType, doc.Annotations)
	}
}

// FuzzIndex writes an index of two descriptors and parses it.
func FuzzIndex(f *testing.F) {
	f.Fuzz(func(t *testing.T, mediaType, artifactType, key, text string, size int64) {
		first := Manifest{MediaType: mediaType, Digest: dig(1), ArtifactType: artifactType, Annotations: map[string]string{key: text}}
		d, err := first.Descriptor()
		if err != nil {
			t.Fatal(err)
		}
		if d.Annotations == nil {
			return // too long
		}
		d.Size = size
		descs := []Descriptor{d, {MediaType: MediaTypeImage, Digest: dig(2), Size: size}}
		payload := writeIndex(t, descs)
		var doc struct{ Manifests []v1.Descriptor }
		if err := json.Unmarshal(payload, &doc); err != nil || len(doc.Manifests) != 2 {
			t.Fatalf("%s: %v", payload, err)
		}
		if got := doc.Manifests[0].Annotations[key]; utf8.ValidString(key) && utf8.ValidString(text) && got != text {
			t.Errorf("annotation %q is %q, want %q", key, got, text)
		}
		m, err := Parse(MediaTypeIndex, payload, "")
		if size >= 0 && isPrintable(mediaType) {
			if err != nil {
				t.Fatalf("%s: %v", payload, err)
			}
			want := []Link{{dig(1), size, LinkAny, false, true}, {dig(2), size, LinkAny, false, true}}
			if !slices.Equal(m.Links, want) {
				t.Errorf("got %+v, want %+v", m.Links, want)
			}
		} else if !errors.Is(err, ErrManifestInvalid) {
			t.Errorf("%s: got %v, want ErrManifestInvalid", payload, err)
		}
	})
}

func isPrintable(mediaType string) bool {
	return len(mediaType) <= 255 && regexp.MustCompile(`^[ -~]+$`).MatchString(mediaType)
}
