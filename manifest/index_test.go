package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// writeIndex returns an index that was written page by page.
func writeIndex(t *testing.T, pages ...[]Descriptor) []byte {
	t.Helper()
	var b bytes.Buffer
	w := NewIndexWriter(&b)
	for _, page := range pages {
		if err := w.Add(page); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestIndexWriterEmpty(t *testing.T) {
	const want = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	for _, pages := range [][][]Descriptor{nil, {nil}, {{}, nil}} {
		if got := writeIndex(t, pages...); string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if IndexOverhead != len(want) {
		t.Errorf("IndexOverhead is %d, want %d", IndexOverhead, len(want))
	}
}

func TestIndexWriter(t *testing.T) {
	annotations := json.RawMessage(`{"k":"\"<ä>&"}`)
	payload := writeIndex(t,
		[]Descriptor{{MediaType: MediaTypeImage, Digest: dig(1), Size: 123, ArtifactType: "a/b+<c>", Annotations: annotations}},
		nil,
		[]Descriptor{{MediaType: MediaTypeIndex, Digest: dig512, Size: 0}, {MediaType: MediaTypeImage, Digest: dig(2), Size: 5}})
	var got v1.Index
	if err := json.Unmarshal(payload, &got); err != nil {
		t.Fatal(err)
	}
	want := []v1.Descriptor{
		{MediaType: MediaTypeImage, Digest: dig(1), Size: 123, ArtifactType: "a/b+<c>", Annotations: map[string]string{"k": `"<ä>&`}},
		{MediaType: MediaTypeIndex, Digest: dig512},
		{MediaType: MediaTypeImage, Digest: dig(2), Size: 5},
	}
	if got.SchemaVersion != 2 || got.MediaType != MediaTypeIndex || !reflect.DeepEqual(got.Manifests, want) {
		t.Errorf("got %s", payload)
	}
	if !bytes.Contains(payload, annotations) || !bytes.Contains(payload, []byte("a/b+<c>")) {
		t.Errorf("a text is escaped that needs it for HTML only: %s", payload)
	}
	// Clients push such an index for the fallback tag, which registries without referrers need.
	m, err := Parse(MediaTypeIndex, payload, "")
	if err != nil || len(m.Links) != 3 {
		t.Errorf("got %+v, %v", m, err)
	}
}

// failingWriter fails after a number of writes.
type failingWriter struct{ writes int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.writes--; w.writes < 0 {
		return 0, errors.New("full")
	}
	return len(p), nil
}

func TestIndexWriterFails(t *testing.T) {
	w := NewIndexWriter(&failingWriter{writes: 1})
	descs := []Descriptor{{MediaType: MediaTypeImage, Digest: dig(1)}}
	if err := errors.Join(w.Add(descs), w.Close()); err == nil || err.Error() != "full" {
		t.Errorf("got %v", err)
	}
	if err := NewIndexWriter(&failingWriter{}).Add(descs); err == nil {
		t.Error("no error")
	}
}

// TestDescriptor checks that a descriptor has annotations of up to 64 KiB of JSON, and at most
// MaxDescriptorSize bytes.
func TestDescriptor(t *testing.T) {
	long := strings.Repeat("\"", maxMediaType)
	fits := MaxAnnotationsSize - len(`{"a":""}`)
	for name, c := range map[string]struct {
		annotations map[string]string
		want        int // length of their JSON; 0 for none
	}{
		"none":                   {nil, 0},
		"empty":                  {map[string]string{}, 0},
		"an empty text":          {map[string]string{"": ""}, len(`{"":""}`)},
		"just fits":              {map[string]string{"a": strings.Repeat("x", fits)}, MaxAnnotationsSize},
		"too long by one":        {map[string]string{"a": strings.Repeat("x", fits+1)}, 0},
		"characters of HTML":     {map[string]string{"a": strings.Repeat("<", fits)}, MaxAnnotationsSize},
		"too long when escaped":  {map[string]string{"a": strings.Repeat("\"", fits/2+1)}, 0},
		"just fits when escaped": {map[string]string{"a": strings.Repeat("\"", fits/2)}, MaxAnnotationsSize},
		"megabytes":              {map[string]string{"a": strings.Repeat("<", 4<<20)}, 0},
	} {
		m := Manifest{MediaType: long, ArtifactType: long, Digest: dig512, Payload: make([]byte, 100), Annotations: c.annotations}
		d, err := m.Descriptor()
		if err != nil || len(d.Annotations) != c.want {
			t.Errorf("%s: annotations of %d bytes, want %d; %v", name, len(d.Annotations), c.want, err)
		}
		text, err := d.JSON()
		if err != nil || len(text) > MaxDescriptorSize {
			t.Errorf("%s: a descriptor of %d bytes, %v", name, len(text), err)
		}
		var got v1.Descriptor
		if err := json.Unmarshal(text, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got.MediaType != long || got.ArtifactType != long || got.Digest != dig512 || got.Size != 100 || c.want > 0 && !reflect.DeepEqual(got.Annotations, c.annotations) {
			t.Errorf("%s: the descriptor is %.200s", name, text)
		}
	}
}
