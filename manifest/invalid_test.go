package manifest

import (
	"errors"
	"strings"
	"testing"
)

// replace replaces the first occurrence of old, which must be in the document.
func replace(t *testing.T, document, old, new string) string {
	t.Helper()
	changed := strings.Replace(document, old, new, 1)
	if changed == document {
		t.Fatalf("%q is not in %s", old, document)
	}
	return changed
}

func TestParseInvalid(t *testing.T) {
	change := func(document, old, new string) string { return replace(t, document, old, new) }
	layer := desc(typeLayer, 3, 30)
	config := desc(typeConfig, 1, 10)
	for _, c := range []struct {
		name, contentType, payload string
		message                    []string // parts of it
	}{
		// The envelope.
		{"empty", MediaTypeImage, "", []string{"empty"}},
		{"blank", MediaTypeImage, "  ", []string{"not valid JSON"}},
		{"text", MediaTypeImage, "hello", []string{"not valid JSON at byte 1"}},
		{"cut", MediaTypeImage, image("")[:100], []string{"not valid JSON at byte 100"}},
		{"two values", MediaTypeImage, image("") + "{}", []string{"not valid JSON", "after top-level value"}},
		{"byte order mark", MediaTypeImage, "\ufeff" + image(""), []string{"not valid JSON"}},
		{"not UTF-8", MediaTypeImage, image(",\"x\":\"\xff\""), []string{"UTF-8"}},
		{"UTF-16", MediaTypeImage, "\xff\xfe{\x00}\x00", []string{"UTF-8"}},
		{"array", MediaTypeImage, "[" + image("") + "]", []string{"expected an object, found an array"}},
		{"null", MediaTypeImage, "null", []string{"expected an object, found null"}},
		{"string", MediaTypeImage, `"x"`, []string{"expected an object, found a string"}},
		{"number", MediaTypeImage, `1`, []string{"expected an object, found a number"}},
		{"boolean", MediaTypeImage, `true`, []string{"expected an object, found a boolean"}},

		// Media types.
		{"neither", "", change(image(""), `"mediaType":"`+MediaTypeImage+`",`, ""), []string{"Content-Type", "mediaType", MediaTypeImage, MediaTypeSchema1Signed, MediaTypeArtifact}},
		{"neither, schema 1", "", `{"schemaVersion":1,"fsLayers":[]}`, []string{"Content-Type", MediaTypeSchema1}},
		{"parameters alone", "; charset=utf-8", change(image(""), `"mediaType":"`+MediaTypeImage+`",`, ""), []string{"Content-Type"}},
		{"unknown Content-Type", "application/json", image(""), []string{`Content-Type "application/json" is not supported`, MediaTypeImage}},
		{"unknown mediaType", "", change(image(""), MediaTypeImage, "a/b"), []string{`mediaType: "a/b" is not supported`, MediaTypeIndex}},
		{"mediaType in other case", "", change(image(""), MediaTypeImage, strings.ToUpper(MediaTypeImage)), []string{"mediaType", "is not supported"}},
		{"mismatch", MediaTypeDockerImage, image(""), []string{"mediaType", MediaTypeDockerImage, MediaTypeImage, "both must be the same"}},
		{"mismatch of case", MediaTypeImage, change(image(""), MediaTypeImage, strings.ToUpper(MediaTypeImage)), []string{"mediaType", "both must be the same"}},
		{"Docker without mediaType", MediaTypeDockerImage, change(image(""), `"mediaType":"`+MediaTypeImage+`",`, ""), []string{"mediaType: missing, expected " + MediaTypeDockerImage}},
		{"Docker list without mediaType", MediaTypeDockerList, `{"schemaVersion":2,"manifests":[]}`, []string{"mediaType: missing"}},
		{"artifact without mediaType", MediaTypeArtifact, `{"blobs":[]}`, []string{"mediaType: missing"}},
		{"mediaType a number", MediaTypeImage, change(image(""), `"`+MediaTypeImage+`"`, "1"), []string{"mediaType: expected a string, found a number"}},
		{"an index said to be an image", MediaTypeImage, `{"schemaVersion":2,"manifests":[]}`, []string{"manifests: does not belong"}},
		{"an image said to be an index", MediaTypeIndex, `{"schemaVersion":2,"config":` + config + `,"layers":[]}`, []string{"config: does not belong"}},

		// schemaVersion.
		{"no schemaVersion", MediaTypeImage, change(image(""), `"schemaVersion":2,`, ""), []string{"schemaVersion: missing, expected 2"}},
		{"schemaVersion 1", MediaTypeImage, change(image(""), `"schemaVersion":2`, `"schemaVersion":1`), []string{"schemaVersion: expected 2, found \"1\""}},
		{"schemaVersion 2.0", MediaTypeIndex, change(index(""), `"schemaVersion":2`, `"schemaVersion":2.0`), []string{"schemaVersion: expected 2"}},
		{"schemaVersion a string", MediaTypeImage, change(image(""), `"schemaVersion":2`, `"schemaVersion":"2"`), []string{"schemaVersion: expected 2"}},
		{"schemaVersion null", MediaTypeImage, change(image(""), `"schemaVersion":2`, `"schemaVersion":null`), []string{"schemaVersion: expected 2"}},
		{"schema 1 of version 2", MediaTypeSchema1, `{"schemaVersion":2,"fsLayers":[]}`, []string{"schemaVersion: expected 1"}},

		// Keys.
		{"key twice", MediaTypeImage, image(`,"layers":[]`), []string{`the key "layers" appears twice`}},
		{"key twice, escaped", MediaTypeImage, image(`,"l\u0061yers":[]`), []string{`the key "layers" appears twice`}},
		{"unknown key twice", MediaTypeImage, image(`,"x":1,"x":1`), []string{`the key "x" appears twice`}},
		{"case", MediaTypeImage, image(`,"Layers":[]`), []string{`the key "Layers" is spelled "layers"`}},
		{"case alone", MediaTypeImage, change(image(""), `"layers"`, `"LAYERS"`), []string{`the key "LAYERS" is spelled "layers"`}},
		{"case that only Unicode folds", MediaTypeImage, image(`,"layerſ":[]`), []string{`is spelled "layers"`}},
		{"case of a key that another type has", MediaTypeImage, image(`,"Manifests":[]`), []string{`is spelled "manifests"`}},
		{"descriptor: key twice", MediaTypeImage, change(image(""), `"size":30`, `"size":30,"size":30`), []string{`layers[1]: the key "size" appears twice`}},
		{"descriptor: case", MediaTypeImage, change(image(""), `"size":30`, `"size":30,"Digest":1`), []string{`layers[1]: the key "Digest" is spelled "digest"`}},
		{"descriptor: case of what is not read", MediaTypeImage, change(image(""), `"size":30`, `"size":30,"Data":1`), []string{`layers[1]: the key "Data" is spelled "data"`}},
		{"index: key twice", MediaTypeIndex, change(index(""), `"size":20`, `"size":20,"size":20`), []string{`manifests[1]: the key "size" appears twice`}},
		{"annotations: key twice", MediaTypeImage, image(`,"annotations":{"a":"1","a":"1"}`), []string{`annotations: the key "a" appears twice`}},
		{"descriptor's annotations: key twice", MediaTypeImage, change(image(""), `"size":30`, `"size":30,"annotations":{"a":"1","a":"1"}`), []string{`layers[1].annotations: the key "a" appears twice`}},
		{"subject: key twice", MediaTypeImage, image(`,"subject":{"size":1,"size":1}`), []string{`subject: the key "size" appears twice`}},
		{"schema 1: key twice", MediaTypeSchema1, `{"schemaVersion":1,"fsLayers":[{"blobSum":"x","blobsum":"y"}]}`, []string{"fsLayers[0]"}},
		{"key with half a surrogate pair", MediaTypeImage, image(`,"annotations":{"\ud800":"1"}`), []string{"annotations", "surrogate"}},
		{"value with half a surrogate pair", MediaTypeImage, image(`,"annotations":{"a":"\udc00\ud800"}`), []string{`annotations["a"]`, "surrogate"}},

		// Shapes of two types at once.
		{"image and index", MediaTypeImage, image(`,"manifests":[]`), []string{"manifests: does not belong into a document of type " + MediaTypeImage}},
		{"image and index, null", MediaTypeImage, image(`,"manifests":null`), []string{"manifests: does not belong"}},
		{"image and schema 1", MediaTypeImage, image(`,"fsLayers":[]`), []string{"fsLayers: does not belong"}},
		{"index and config", MediaTypeIndex, index(`,"config":{}`), []string{"config: does not belong into a document of type " + MediaTypeIndex}},
		{"index and layers", MediaTypeIndex, index(`,"layers":[]`), []string{"layers: does not belong"}},
		{"index and schema 1", MediaTypeIndex, index(`,"fsLayers":[]`), []string{"fsLayers: does not belong"}},
		{"Docker list and layers", MediaTypeDockerList, change(index(`,"layers":[]`), MediaTypeIndex, MediaTypeDockerList), []string{"layers: does not belong"}},
		{"schema 1 and layers", MediaTypeSchema1, `{"schemaVersion":1,"fsLayers":[],"layers":[]}`, []string{"layers: does not belong"}},
		{"artifact and layers", MediaTypeArtifact, `{"mediaType":"` + MediaTypeArtifact + `","layers":[]}`, []string{"layers: does not belong"}},
		{"schema 1 with signatures, said to have none", MediaTypeSchema1, `{"schemaVersion":1,"fsLayers":[],"signatures":[]}`, []string{"signatures", MediaTypeSchema1Signed}},

		// What must be there.
		{"no config", MediaTypeImage, `{"schemaVersion":2,"layers":[]}`, []string{"config: missing"}},
		{"config null", MediaTypeImage, `{"schemaVersion":2,"config":null,"layers":[]}`, []string{"config: expected an object, found null"}},
		{"layers an object", MediaTypeImage, `{"schemaVersion":2,"config":` + config + `,"layers":{}}`, []string{"layers: expected an array, found an object"}},
		{"no manifests", MediaTypeIndex, `{"schemaVersion":2}`, []string{"manifests: missing"}},
		{"no fsLayers", MediaTypeSchema1, `{"schemaVersion":1}`, []string{"fsLayers: missing"}},
		{"no blobSum", MediaTypeSchema1, `{"schemaVersion":1,"fsLayers":[{}]}`, []string{"fsLayers[0].blobSum: missing"}},
		{"blobSum null", MediaTypeSchema1, `{"schemaVersion":1,"fsLayers":[{"blobSum":null}]}`, []string{"fsLayers[0].blobSum: expected a string, found null"}},
		{"blobs an object", MediaTypeArtifact, `{"mediaType":"` + MediaTypeArtifact + `","blobs":{}}`, []string{"blobs: expected an array"}},

		// Descriptors.
		{"layer null", MediaTypeImage, change(image(""), layer, "null"), []string{"layers[1]: expected an object, found null"}},
		{"no digest", MediaTypeImage, change(image(""), `"digest":"`+dig(3).String()+`",`, ""), []string{"layers[1].digest: missing"}},
		{"empty digest", MediaTypeImage, change(image(""), dig(3).String(), ""), []string{"layers[1].digest", "is not a digest"}},
		{"short digest", MediaTypeImage, change(image(""), dig(3).String(), "sha256:baddigest"), []string{"layers[1].digest", "expected 64"}},
		{"upper-case digest", MediaTypeImage, change(image(""), dig(3).String(), "sha256:"+strings.ToUpper(hex64)), []string{"layers[1].digest", "lower-case"}},
		{"digest of another algorithm", MediaTypeImage, change(image(""), dig(3).String(), "md5:d41d8cd98f00b204e9800998ecf8427e"), []string{"layers[1].digest", "expected sha256 or sha512"}},
		{"digest a number", MediaTypeImage, change(image(""), `"`+dig(3).String()+`"`, "3"), []string{"layers[1].digest: expected a string, found a number"}},
		{"no size", MediaTypeImage, change(image(""), `,"size":30`, ""), []string{"layers[1].size: missing"}},
		{"size null", MediaTypeImage, change(image(""), `"size":30`, `"size":null`), []string{"layers[1].size: missing"}},
		{"negative size", MediaTypeImage, change(image(""), `"size":30`, `"size":-1`), []string{"layers[1].size: expected a whole number, 0 or more, found \"-1\""}},
		{"size a fraction", MediaTypeImage, change(image(""), `"size":30`, `"size":30.0`), []string{"layers[1].size: expected a whole number"}},
		{"size with an exponent", MediaTypeImage, change(image(""), `"size":30`, `"size":3e1`), []string{"layers[1].size: expected a whole number"}},
		{"size a string", MediaTypeImage, change(image(""), `"size":30`, `"size":"30"`), []string{"layers[1].size: expected a whole number"}},
		{"size over an int64", MediaTypeImage, change(image(""), `"size":30`, `"size":9223372036854775808`), []string{"layers[1].size: expected a whole number"}},
		{"size of many digits", MediaTypeImage, change(image(""), `"size":30`, `"size":1`+strings.Repeat("0", 1<<16)), []string{"layers[1].size: expected a whole number"}},
		{"no media type", MediaTypeImage, change(image(""), layer, strings.Replace(layer, `"mediaType":"`+typeLayer+`",`, "", 1)), []string{"layers[1].mediaType: missing"}},
		{"empty media type", MediaTypeImage, change(image(""), layer, strings.Replace(layer, typeLayer, "", 1)), []string{"layers[1].mediaType: missing"}},
		{"media type with a control character", MediaTypeImage, change(image(""), typeConfig, `a/b\u0000`), []string{"config.mediaType", "is not a media type"}},
		{"long media type", MediaTypeImage, change(image(""), typeConfig, strings.Repeat("a", 256)), []string{"config.mediaType: has 256 characters, at most 255"}},
		{"urls a string", MediaTypeImage, change(image(""), `"size":30`, `"size":30,"urls":"x"`), []string{"layers[1].urls: expected an array, found a string"}},
		{"urls of numbers", MediaTypeImage, change(image(""), `"size":30`, `"size":30,"urls":["x",1]`), []string{"layers[1].urls[1]: expected a string, found a number"}},
		{"one digest, two sizes", MediaTypeImage, change(image(""), dig(3).String(), dig(1).String()), []string{"layers[1].size: 30 bytes", "10 bytes"}},
		{"one child, two sizes", MediaTypeIndex, change(index(""), dig(2).String(), dig(1).String()), []string{"manifests[1].size: 20 bytes", "10 bytes"}},
		{"child without size", MediaTypeIndex, change(index(""), `,"size":20`, ""), []string{"manifests[1].size: missing"}},
		{"a third child's digest", MediaTypeIndex, `{"schemaVersion":2,"manifests":[` + strings.Repeat(desc(MediaTypeImage, 1, 1)+",", 2) + `{"digest":"sha512:` + hex64 + `"}]}`, []string{"manifests[2].digest", "expected 128"}},

		// Relations.
		{"subject a string", MediaTypeImage, image(`,"subject":"` + dig(9).String() + `"`), []string{"subject: expected an object"}},
		{"subject without size", MediaTypeIndex, index(`,"subject":{"mediaType":"a/b","digest":"` + dig(9).String() + `"}`), []string{"subject.size: missing"}},
		{"artifactType an object", MediaTypeImage, image(`,"artifactType":{}`), []string{"artifactType: expected a string"}},
		{"artifactType with a line break", MediaTypeImage, image(`,"artifactType":"a\nb"`), []string{"artifactType", "is not a media type"}},
		{"artifactType beyond ASCII", MediaTypeIndex, index(`,"artifactType":"ä"`), []string{"artifactType", "is not a media type"}},
		{"annotations an array", MediaTypeImage, image(`,"annotations":[]`), []string{"annotations: expected an object, found an array"}},
		{"annotation a number", MediaTypeIndex, index(`,"annotations":{"a":1}`), []string{`annotations["a"]: expected a string, found a number`}},
		{"annotation null", MediaTypeIndex, index(`,"annotations":{"a":null}`), []string{`annotations["a"]: expected a string, found null`}},

		// Nesting.
		{"deep", MediaTypeImage, image(`,"x":` + strings.Repeat("[", 100000) + strings.Repeat("]", 100000)), []string{"not valid JSON", "max depth"}},
		{"deep and never closed", MediaTypeImage, strings.Repeat(`{"config":`, 400000), []string{"not valid JSON"}},
	} {
		m, err := Parse(c.contentType, []byte(c.payload), "")
		if !errors.Is(err, ErrManifestInvalid) || m != nil {
			t.Errorf("%s: got %+v, %v, want ErrManifestInvalid", c.name, m, err)
			continue
		}
		for _, part := range c.message {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not contain %q", c.name, err, part)
			}
		}
	}
}

// TestParseDeep parses the deepest nesting that encoding/json allows, which must not recurse.
func TestParseDeep(t *testing.T) {
	payload := image(`,"x":` + strings.Repeat(`{"a":[`, 4900) + strings.Repeat(`]}`, 4900))
	if _, err := Parse("", []byte(payload), ""); err != nil {
		t.Error(err)
	}
}

// TestMessagesAreShort checks that messages quote only the start of what a client sent.
func TestMessagesAreShort(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct{ contentType, payload string }{
		{long, image("")},
		{MediaTypeImage, image(`,"annotations":{"` + long + `":1}`)},
		{MediaTypeImage, image(`,"annotations":{"` + long + `":"","` + long + `":""}`)},
		{MediaTypeImage, image(`,"` + long + `":1,"` + long + `":1`)},
		{MediaTypeImage, image(`,"annotations":{"a":"` + long + `\ud800"}`)},
		{MediaTypeImage, replace(t, image(""), "sha256", long)},
		{MediaTypeImage, replace(t, image(""), dig(1).String(), long)},
		{MediaTypeImage, replace(t, image(""), dig(1).String(), "sha256:"+long)},
		{MediaTypeImage, replace(t, image(""), MediaTypeImage, long)},
		{MediaTypeImage, replace(t, image(""), `"schemaVersion":2`, `"schemaVersion":"`+long+`"`)},
	} {
		_, err := Parse(c.contentType, []byte(c.payload), "")
		if !errors.Is(err, ErrManifestInvalid) {
			t.Errorf("got %.200v, want ErrManifestInvalid", err)
		} else if n := len(err.Error()); n > 2000 {
			t.Errorf("%.200q…: %d bytes", err, n)
		}
	}
}
