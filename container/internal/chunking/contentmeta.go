package chunking

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// ContentMeta says which object of a commit belongs to which component.
type ContentMeta struct {
	Created string            // of the image; "" for the time of the commit
	Labels  map[string]string // further labels
	Layers  []ContentLayer    // the components, in their order
	// Mapping has the ID of a component by the checksum of an object (64 hex digits), or else, which the reference does not know, by the path of a
	// file or of a directory above it ("/usr/lib/modules", "/").
	Mapping map[string]string
}

// ContentLayer is one component.
type ContentLayer struct {
	ID   string
	Name string
}

// Unpackaged is the ID of the component for what belongs to no package: it changes always.
const Unpackaged = "unpackaged"

// ErrContentMeta is wrapped by errors about a document that is not content metadata.
var ErrContentMeta = errors.New("invalid content metadata")

// contentVersion is the version of the format.
const contentVersion = 1

// ReadContentMeta reads the JSON form, version 1.
func ReadContentMeta(r io.Reader) (*ContentMeta, error) {
	var doc struct {
		Version *uint32           `json:"version"`
		Created string            `json:"created"`
		Labels  map[string]string `json:"labels"`
		Layers  *orderedMap       `json:"layers"`
		Mapping map[string]string `json:"mapping"`
		Ordered bool              `json:"ordered"`
	}
	dec := json.NewDecoder(r)
	if err := dec.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrContentMeta, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: trailing data", ErrContentMeta)
	}
	switch {
	case doc.Version == nil:
		return nil, fmt.Errorf("%w: missing field \"version\"", ErrContentMeta)
	case *doc.Version != contentVersion:
		return nil, fmt.Errorf("%w: Unsupported metadata version: %d. Currently supported: %d", ErrContentMeta, *doc.Version, contentVersion)
	case doc.Ordered:
		return nil, fmt.Errorf("%w: Ordered mapping not currently supported.", ErrContentMeta) //nolint:staticcheck // the reference's text
	case doc.Layers == nil:
		return nil, fmt.Errorf("%w: missing field \"layers\"", ErrContentMeta)
	case doc.Mapping == nil:
		return nil, fmt.Errorf("%w: missing field \"mapping\"", ErrContentMeta)
	}
	return &ContentMeta{Created: doc.Created, Labels: doc.Labels, Layers: doc.Layers.entries, Mapping: doc.Mapping}, nil
}

// orderedMap is a JSON object of strings whose order counts. Of a key there twice the last value counts, at the first place.
type orderedMap struct{ entries []ContentLayer }

func (m *orderedMap) UnmarshalJSON(data []byte) error {
	var plain map[string]string
	if err := json.Unmarshal(data, &plain); err != nil {
		return err
	}
	if plain == nil {
		return errors.New("not an object")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if _, err := dec.Token(); err != nil { // {
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		if _, err := dec.Token(); err != nil { // the value
			return err
		}
		id, ok := key.(string)
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		m.entries = append(m.entries, ContentLayer{ID: id, Name: plain[id]})
	}
	return nil
}

// Components returns the components in their order, without sizes.
func (m *ContentMeta) Components() []*Component {
	components := make([]*Component, len(m.Layers))
	for i, l := range m.Layers {
		components[i] = &Component{ID: l.ID, Name: l.Name, Size: 1, Frequency: 1}
		if l.ID == Unpackaged {
			components[i].Frequency = AlwaysChanges
		}
	}
	return components
}
