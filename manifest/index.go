package manifest

import (
	"bytes"
	"io"
)

const (
	indexStart = `{"schemaVersion":2,"mediaType":"` + MediaTypeIndex + `","manifests":[`
	indexEnd   = `]}`

	// IndexOverhead is the length of an index without descriptors, in bytes. Each
	// adds its JSON and, but for the first, a comma.
	IndexOverhead = len(indexStart) + len(indexEnd)
)

// IndexWriter writes an OCI image index that lists descriptors: the answer to a
// request for referrers. It keeps nothing of what it has written.
type IndexWriter struct {
	to    io.Writer
	begun bool
}

// NewIndexWriter returns an IndexWriter that has written nothing yet.
func NewIndexWriter(to io.Writer) *IndexWriter { return &IndexWriter{to: to} }

// Add writes descriptors, with one call of Write.
func (w *IndexWriter) Add(descs []Descriptor) error {
	var text bytes.Buffer
	for _, d := range descs {
		text.WriteString(w.before())
		if err := appendJSON(&text, d); err != nil {
			return err
		}
	}
	_, err := w.to.Write(text.Bytes())
	return err
}

// Close writes the end of the index, without which the rest is no JSON.
func (w *IndexWriter) Close() error {
	end := indexEnd
	if !w.begun {
		end = indexStart + indexEnd
	}
	_, err := io.WriteString(w.to, end)
	return err
}

// before returns what stands before the next descriptor.
func (w *IndexWriter) before() string {
	if w.begun {
		return ","
	}
	w.begun = true
	return indexStart
}
