package manifest

import (
	"bytes"
	"io"
)

const (
	indexStart = `{"schemaVersion":2,"mediaType":"` + MediaTypeIndex + `","manifests":[`
	indexEnd   = `]}`

	// IndexOverhead is the length of an index without descriptors, in bytes. Each descriptor adds
	// its JSON and, except for the first, a comma.
	IndexOverhead = len(indexStart) + len(indexEnd)
)

// IndexWriter writes an OCI image index that lists descriptors: the answer to a request for
// referrers. It does not buffer what it writes.
type IndexWriter struct {
	to      io.Writer
	started bool
}

// NewIndexWriter returns an IndexWriter that writes to an io.Writer.
func NewIndexWriter(to io.Writer) *IndexWriter { return &IndexWriter{to: to} }

// Add writes descriptors with one call of Write.
func (w *IndexWriter) Add(descs []Descriptor) error {
	var text bytes.Buffer
	for _, d := range descs {
		text.WriteString(w.separator())
		if err := encodeUnescaped(&text, d); err != nil {
			return err
		}
	}
	_, err := w.to.Write(text.Bytes())
	return err
}

// Close writes the end of the index. Without it the output is not valid JSON.
func (w *IndexWriter) Close() error {
	end := indexEnd
	if !w.started {
		end = indexStart + indexEnd
	}
	_, err := io.WriteString(w.to, end)
	return err
}

// separator returns the text to write before the next descriptor.
func (w *IndexWriter) separator() string {
	if w.started {
		return ","
	}
	w.started = true
	return indexStart
}
