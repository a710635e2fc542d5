package manifest

// read sets all fields but the digest from the payload, in four steps:
//
//   - readJSON checks the syntax.
//   - readDocument finds the members of the top level.
//   - document.mediaType determines the media type.
//   - A function for the media type reads the members and collects the links.
//
// Errors are faults with a path such as layers[2].digest.
func (m *Manifest) read(contentType string) error {
	doc, err := readDocument(m.Payload)
	if err != nil {
		return err
	}
	if m.MediaType, err = doc.mediaType(contentType); err != nil {
		return err
	}
	var all links
	switch m.MediaType {
	case MediaTypeImage, MediaTypeDockerImage:
		err = m.readImage(doc, &all)
	case MediaTypeIndex, MediaTypeDockerList:
		err = m.readIndex(doc, &all)
	case MediaTypeArtifact:
		err = m.readArtifact(doc, &all)
	case MediaTypeSchema1, MediaTypeSchema1Signed:
		err = m.readSchema1(doc, &all)
	}
	m.Links = all.list
	return err
}

// readImage reads an OCI image manifest, or a Docker schema 2 manifest, from which the OCI format
// is derived.
func (m *Manifest) readImage(doc document, all *links) error {
	if err := doc.rejectKeys(m.MediaType, "manifests", "fsLayers"); err != nil {
		return err
	}
	if err := doc.checkVersion("2"); err != nil {
		return err
	}
	if _, ok := doc["config"]; !ok {
		return atPath("config", faultf("missing, expected a descriptor"))
	}
	config, err := doc["config"].descriptor()
	if err != nil {
		return atPath("config", err)
	}
	if err := all.add(Link{Digest: config.digest, Size: config.size}); err != nil {
		return atPath("config", err)
	}
	// The image spec's text does not require the key, and images without it are in use.
	if err := doc.optional("layers", all.addBlobs); err != nil {
		return err
	}
	if m.MediaType == MediaTypeImage {
		if err := m.readRelations(doc); err != nil {
			return err
		}
	}
	if m.ArtifactType == "" {
		m.ArtifactType = config.mediaType
	}
	return nil
}

// readIndex reads an OCI index or Docker's manifest list.
func (m *Manifest) readIndex(doc document, all *links) error {
	if err := doc.rejectKeys(m.MediaType, "config", "layers", "fsLayers"); err != nil {
		return err
	}
	if err := doc.checkVersion("2"); err != nil {
		return err
	}
	err := doc.requiredArray("manifests", func(v value) error {
		t, err := v.descriptor()
		if err != nil {
			return err
		}
		return all.add(Link{Digest: t.digest, Size: t.size, Kind: LinkAny, Child: true})
	})
	if err != nil || m.MediaType != MediaTypeIndex {
		return err
	}
	return m.readRelations(doc)
}

// readArtifact reads an OCI artifact manifest (image spec 1.1.0-rc2). It has no schemaVersion.
func (m *Manifest) readArtifact(doc document, all *links) error {
	if err := doc.rejectKeys(m.MediaType, "config", "layers", "manifests", "fsLayers"); err != nil {
		return err
	}
	if err := doc.optional("blobs", all.addBlobs); err != nil {
		return err
	}
	return m.readRelations(doc)
}

// readRelations reads the fields that all OCI manifests share: artifactType, annotations and
// subject.
func (m *Manifest) readRelations(doc document) error {
	err := doc.optional("artifactType", func(v value) (err error) {
		m.ArtifactType, err = v.mediaType()
		return err
	})
	if err != nil {
		return err
	}
	err = doc.optional("annotations", func(v value) (err error) {
		m.Annotations, err = v.stringMap()
		return err
	})
	if err != nil {
		return err
	}
	return doc.optional("subject", func(v value) error {
		t, err := v.descriptor()
		m.Subject = t.digest
		return err
	})
}

// addBlobs adds links to the blobs that an array of descriptors describes.
func (l *links) addBlobs(v value) error { return v.elements(l.addBlob) }

// addBlob adds a link to the blob that a descriptor describes.
func (l *links) addBlob(v value) error {
	t, err := v.descriptor()
	if err != nil {
		return err
	}
	return l.add(Link{Digest: t.digest, Size: t.size, Optional: t.foreign})
}
