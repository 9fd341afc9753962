package object

import (
	"crypto/sha256"
	"slices"

	"github.com/ostree-container/ostree-container/container/internal/gvariant"
)

// Commit is what goes into a commit object. Metadata keys are written sorted, so that equal commits have equal checksums.
type Commit struct {
	Metadata   map[string]gvariant.Value
	Parent     string // 64 hex digits, or empty
	Timestamp  uint64 // seconds since the epoch
	Tree, Meta Checksum
}

// Encode returns the commit object (a{sv}aya(say)sstayay); subject and body are empty.
func (c *Commit) Encode() ([]byte, error) {
	keys := make([]string, 0, len(c.Metadata))
	for k := range c.Metadata {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	entries := make([]gvariant.Value, 0, len(keys))
	for _, k := range keys {
		entries = append(entries, gvariant.DictEntry(gvariant.String(k), gvariant.Variant(c.Metadata[k])))
	}
	metadata, err := gvariant.Array("{sv}", entries...)
	if err != nil {
		return nil, err
	}
	related, err := gvariant.Array("(say)")
	if err != nil {
		return nil, err
	}
	var parent []byte
	if c.Parent != "" {
		sum, err := ParseChecksum(c.Parent)
		if err != nil {
			return nil, err
		}
		parent = sum[:]
	}
	return gvariant.Tuple(
		metadata,
		gvariant.ByteArray(parent),
		related,
		gvariant.String(""),
		gvariant.String(""),
		gvariant.Uint64BE(c.Timestamp),
		gvariant.ByteArray(c.Tree[:]),
		gvariant.ByteArray(c.Meta[:]),
	).Bytes(), nil
}

// Sum is the checksum of a metadata object.
func Sum(data []byte) Checksum { return sha256.Sum256(data) }
