package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// dig returns the n-th digest of a series.
func dig(n int) digest.Digest {
	return digest.Digest(fmt.Sprintf("sha256:%064x", n))
}

// desc returns the JSON of a descriptor.
func desc(mediaType string, n, size int) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, mediaType, dig(n), size)
}

const (
	typeConfig = "application/vnd.oci.image.config.v1+json"
	typeLayer  = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// image returns an OCI image manifest with additional members.
func image(more string) string {
	return `{"schemaVersion":2,"mediaType":"` + MediaTypeImage + `","config":` + desc(typeConfig, 1, 10) +
		`,"layers":[` + desc(typeLayer, 2, 20) + `,` + desc(typeLayer, 3, 30) + `]` + more + `}`
}

// index returns an OCI index with additional members.
func index(more string) string {
	return `{"schemaVersion":2,"mediaType":"` + MediaTypeIndex + `","manifests":[` +
		desc(MediaTypeImage, 1, 10) + `,` + desc(MediaTypeIndex, 2, 20) + `]` + more + `}`
}

func TestQuay(t *testing.T) {
	for _, c := range []struct {
		file, mediaType string
		size            int
		digest          digest.Digest
		links           []Link
	}{
		{"schema1.json", MediaTypeSchema1, 7339, "sha256:433c44794ffe3a4b7ba7d4444d8d1b82743b24c4ccf8024bab252f76e37fa1bf", []Link{
			{Digest: "sha256:70a4a9f9d194035612c9bcad53b10e24875091230d7ff5f172b425a89f659b95", Size: -1},
			{Digest: "sha256:455a6ebc360e2132a2e9596d198d34c3521418ef735bdb981e492d49608fe050", Size: -1},
			{Digest: "sha256:82cabd2585ea5cd94a0b3a4d581f2747a9e9ab585416d84f810dd47570d023a7", Size: -1},
			{Digest: "sha256:82a8f4ea76cb6f833c5f179b3e6eda9f2267ed8ac7d1bf652f88ac3e9cc453d1", Size: -1},
			{Digest: "sha256:a3ac36470b00df382448e79f7a749aa6833e4ac9cc90e3391f778820db9fa407", Size: -1},
		}},
		{"schema2.json", MediaTypeDockerImage, 736, "sha256:8cf7e06dd4095f2cd54e13fdb6fd313abbeb6e03d568f17956d97433623093c2", []Link{
			{Digest: "sha256:6bb361fc269add772a5c61e3a78ce2081559b5605f0c9e446c7b23adb7984714", Size: 1730},
			{Digest: "sha256:4f4fb700ef54461cfa02571ae0db9a0dc1e0cdb5577484a6d75e68dc38e8acc1", Size: 32},
			{Digest: "sha256:89eaaaf386250faa931481c7a091b8540c35739569482aaebe214e0c69999e7c", Size: 926491594},
		}},
	} {
		payload, err := os.ReadFile("testdata/quay/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		if len(payload) != c.size {
			t.Errorf("%s has %d bytes, want %d", c.file, len(payload), c.size)
		}
		for _, want := range []digest.Digest{"", c.digest} {
			m, err := Parse(c.mediaType, payload, want)
			if err != nil {
				t.Errorf("%s: %v", c.file, err)
				continue
			}
			if m.Digest != c.digest || m.MediaType != c.mediaType || !slices.Equal(m.Links, c.links) {
				t.Errorf("%s: got %s, %s, %+v", c.file, m.Digest, m.MediaType, m.Links)
			}
		}
	}
}

func TestParse(t *testing.T) {
	blob := func(n int, size int64) Link { return Link{Digest: dig(n), Size: size} }
	foreign := func(n int, size int64) Link { return Link{Digest: dig(n), Size: size, Optional: true} }
	child := func(n int, size int64) Link { return Link{Digest: dig(n), Size: size, Kind: LinkAny, Child: true} }
	plain := []Link{blob(1, 10), blob(2, 20), blob(3, 30)}
	for _, c := range []struct {
		name, contentType, payload string
		want                       Manifest
	}{
		{"image", MediaTypeImage, image(""), Manifest{MediaType: MediaTypeImage, ArtifactType: typeConfig, Links: plain}},
		{"image by mediaType alone", "", image(""), Manifest{MediaType: MediaTypeImage, ArtifactType: typeConfig, Links: plain}},
		{"parameters and case of Content-Type", " Application/vnd.OCI.image.manifest.v1+JSON ; charset=utf-8", image(""),
			Manifest{MediaType: MediaTypeImage, ArtifactType: typeConfig, Links: plain}},
		{"space around", MediaTypeImage, "\n\t " + image("") + " \r\n", Manifest{MediaType: MediaTypeImage, ArtifactType: typeConfig, Links: plain}},
		{"image without mediaType", MediaTypeImage, `{"schemaVersion": 2, "config": ` + desc(typeConfig, 1, 10) + `, "layers": [ ] }`,
			Manifest{MediaType: MediaTypeImage, ArtifactType: typeConfig, Links: plain[:1]}},
		{"image without layers", MediaTypeImage, `{"schemaVersion":2,"config":` + desc(typeConfig, 1, 10) + `}`,
			Manifest{MediaType: MediaTypeImage, ArtifactType: typeConfig, Links: plain[:1]}},
		{"Docker image without layers", MediaTypeDockerImage, `{"schemaVersion":2,"mediaType":"` + MediaTypeDockerImage + `","config":` + desc(typeConfig, 1, 10) + `}`,
			Manifest{MediaType: MediaTypeDockerImage, ArtifactType: typeConfig, Links: plain[:1]}},
		{"null for what is not there", MediaTypeImage,
			`{"schemaVersion":2,"mediaType":null,"config":` + desc(typeConfig, 1, 10) + `,"layers":null,"subject":null,"annotations":null,"artifactType":null}`,
			Manifest{MediaType: MediaTypeImage, ArtifactType: typeConfig, Links: plain[:1]}},
		{"artifact", MediaTypeImage, image(`,"artifactType":"application/vnd.example","subject":` + desc(MediaTypeImage, 9, 90) + `,"annotations":{"a":"1","A":"","":"\u00e4\ud83d\ude00"}`),
			Manifest{MediaType: MediaTypeImage, ArtifactType: "application/vnd.example", Subject: dig(9),
				Annotations: map[string]string{"a": "1", "A": "", "": "ä😀"}, Links: plain}},
		{"unknown members", MediaTypeImage, image(`,"org.example":{"a":[{"a":"}]"},{"a":1}]},"Custom":"\"","blobs":7,"n":-1.5e3,"t":true`),
			Manifest{MediaType: MediaTypeImage, ArtifactType: typeConfig, Links: plain}},
		{"escaped key and string", MediaTypeImage, strings.Replace(image(`,"artifact\u0054ype":"a\/b"`), `"layers"`, `"\u006cayers"`, 1),
			Manifest{MediaType: MediaTypeImage, ArtifactType: "a/b", Links: plain}},
		{"the same blob twice", MediaTypeImage, `{"schemaVersion":2,"config":` + desc("a/b", 1, 2) + `,"layers":[` + desc("a/b", 1, 2) + `,` + desc("c/d", 1, 2) + `]}`,
			Manifest{MediaType: MediaTypeImage, ArtifactType: "a/b", Links: []Link{blob(1, 2)}}},
		{"foreign layers", MediaTypeImage, `{"schemaVersion":2,"config":` + desc("a/b", 1, 1) + `,"layers":[` + strings.Join([]string{
			desc("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 2, 2),
			desc("application/vnd.oci.image.layer.nondistributable.v1.tar", 3, 3),
			desc("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", 4, 4),
			desc("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", 5, 5),
			strings.Replace(desc(typeLayer, 6, 6), "{", `{"urls":["https://example.com/6"],`, 1),
			strings.Replace(desc(typeLayer, 7, 7), "{", `{"urls":[],`, 1),
			strings.Replace(desc(typeLayer, 8, 8), "{", `{"urls":null,`, 1),
		}, ",") + `]}`, Manifest{MediaType: MediaTypeImage, ArtifactType: "a/b",
			Links: []Link{blob(1, 1), foreign(2, 2), foreign(3, 3), foreign(4, 4), foreign(5, 5), foreign(6, 6), blob(7, 7), blob(8, 8)}}},
		{"foreign once, needed once", MediaTypeImage, `{"schemaVersion":2,"config":` + desc("a/b", 1, 1) + `,"layers":[` +
			strings.Replace(desc(typeLayer, 6, 6), "{", `{"urls":["https://example.com/6"],`, 1) + `,` + desc(typeLayer, 6, 6) + `]}`,
			Manifest{MediaType: MediaTypeImage, ArtifactType: "a/b", Links: []Link{blob(1, 1), blob(6, 6)}}},
		{"Docker image", MediaTypeDockerImage, strings.Replace(image(`,"subject":1,"annotations":2,"artifactType":3`), MediaTypeImage, MediaTypeDockerImage, 1),
			Manifest{MediaType: MediaTypeDockerImage, ArtifactType: typeConfig, Links: plain}},
		{"index", MediaTypeIndex, index(""), Manifest{MediaType: MediaTypeIndex, Links: []Link{child(1, 10), child(2, 20)}}},
		{"empty index", MediaTypeIndex, `{"schemaVersion":2,"manifests":[]}`, Manifest{MediaType: MediaTypeIndex}},
		{"index of platforms that share an image", MediaTypeIndex, `{"schemaVersion":2,"manifests":[` + desc(MediaTypeImage, 1, 1) + `,` +
			strings.Replace(desc(MediaTypeImage, 1, 1), "{", `{"platform":{"os":"linux","architecture":"arm64"},`, 1) + `]}`,
			Manifest{MediaType: MediaTypeIndex, Links: []Link{child(1, 1)}}},
		{"artifact index", MediaTypeIndex, index(`,"artifactType":"a/b","annotations":{"k":"v"},"subject":` + desc(MediaTypeIndex, 9, 1)),
			Manifest{MediaType: MediaTypeIndex, ArtifactType: "a/b", Annotations: map[string]string{"k": "v"}, Subject: dig(9), Links: []Link{child(1, 10), child(2, 20)}}},
		{"BuildKit cache: layers in an index", MediaTypeIndex, `{"schemaVersion":2,"mediaType":"` + MediaTypeIndex + `","manifests":[` +
			desc(typeLayer, 1, 10) + `,` + desc("application/vnd.buildkit.cacheconfig.v0", 2, 20) + `]}`,
			Manifest{MediaType: MediaTypeIndex, Links: []Link{child(1, 10), child(2, 20)}}},
		{"Docker list", MediaTypeDockerList, strings.Replace(index(""), MediaTypeIndex, MediaTypeDockerList, 1),
			Manifest{MediaType: MediaTypeDockerList, Links: []Link{child(1, 10), child(2, 20)}}},
		{"withdrawn artifact manifest", MediaTypeArtifact, `{"mediaType":"` + MediaTypeArtifact + `","artifactType":"a/b","blobs":[` + desc("c/d", 1, 10) +
			`],"subject":` + desc(MediaTypeImage, 9, 9) + `,"annotations":{"k":"v"}}`,
			Manifest{MediaType: MediaTypeArtifact, ArtifactType: "a/b", Annotations: map[string]string{"k": "v"}, Subject: dig(9), Links: []Link{blob(1, 10)}}},
		{"withdrawn artifact manifest without blobs", MediaTypeArtifact, `{"mediaType":"` + MediaTypeArtifact + `"}`, Manifest{MediaType: MediaTypeArtifact}},
		{"schema 1 with a layer twice", MediaTypeSchema1 + "; charset=utf-8", `{"schemaVersion":1,"fsLayers":[{"blobSum":"` + string(dig(1)) + `"},{"blobSum":"` + string(dig(1)) + `"}],"history":[]}`,
			Manifest{MediaType: MediaTypeSchema1, Links: []Link{blob(1, -1)}}},
		{"sha512 inside", MediaTypeIndex, `{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":0,"digest":"` + dig512 + `"}]}`,
			Manifest{MediaType: MediaTypeIndex, Links: []Link{{Digest: dig512, Kind: LinkAny, Child: true}}}},
	} {
		m, err := Parse(c.contentType, []byte(c.payload), "")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		c.want.Payload = []byte(c.payload)
		c.want.Digest = digest.FromString(c.payload)
		if !reflect.DeepEqual(*m, c.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, *m, c.want)
		}
	}
}

func TestParseWant(t *testing.T) {
	payload := []byte(image(""))
	for _, a := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
		m, err := Parse("", payload, a.FromBytes(payload))
		if err != nil || m.Digest != a.FromBytes(payload) {
			t.Errorf("%s: got %+v, %v", a, m, err)
		}
		wrong := a.FromString("else")
		m, err = Parse("", payload, wrong)
		if !errors.Is(err, ErrDigestInvalid) || m != nil {
			t.Fatalf("%s: got %+v, %v, want ErrDigestInvalid", a, m, err)
		}
		for _, d := range []digest.Digest{wrong, a.FromBytes(payload)} {
			if !strings.Contains(err.Error(), d.String()) {
				t.Errorf("%s: %q does not name %s", a, err, d)
			}
		}
	}
	for _, bad := range []digest.Digest{"sha384:00", "x", "sha256:", "md5:0123456789abcdef0123456789abcdef"} {
		if _, err := Parse("", payload, bad); !errors.Is(err, ErrDigestInvalid) {
			t.Errorf("%s: got %v, want ErrDigestInvalid", bad, err)
		}
	}
}

// bigIndex returns an index with n children, of at most 4 MiB.
func bigIndex(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"schemaVersion":2,"manifests":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"mediaType":"a/b","digest":"%s","size":%d}`, dig(i), i)
	}
	b.WriteString(`]}`)
	return []byte(b.String())
}

func TestParseBigIndex(t *testing.T) {
	const n = 38000
	payload := bigIndex(n)
	if len(payload) > 5<<20 {
		t.Fatalf("%d bytes", len(payload))
	}
	m, err := Parse(MediaTypeIndex, payload, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Links) != n || m.Links[n-1] != (Link{Digest: dig(n - 1), Size: n - 1, Kind: LinkAny, Child: true}) {
		t.Errorf("got %d links", len(m.Links))
	}
}

// TestDescriptorJSON checks that a Descriptor marshals as clients write it.
func TestDescriptorJSON(t *testing.T) {
	d := Descriptor{MediaType: "a/b", Digest: dig(1), Size: 0}
	got, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	if want := desc("a/b", 1, 0); string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkParse(b *testing.B) {
	small := []byte(image(`,"annotations":{"org.opencontainers.image.created":"2026-11-21T21:12:00Z","org.opencontainers.image.title":"x"}`))
	schema1, err := os.ReadFile("testdata/quay/schema1.json")
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name, mediaType string
		payload         []byte
	}{
		{"image", MediaTypeImage, small},
		{"schema1", MediaTypeSchema1, schema1},
		{"index of 1,000", MediaTypeIndex, bigIndex(1000)},
		{"index of 38,000", MediaTypeIndex, bigIndex(38000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.payload)))
			for b.Loop() {
				if _, err := Parse(c.mediaType, c.payload, ""); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
