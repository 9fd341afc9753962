package container

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/gvariant"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

// maxDetached bounds the detached metadata of a commit to which images add, in bytes.
const maxDetached = 10 << 20

// signatureType is the type of a list of signatures, such as ostree.gpgsigs and ostree.sign.ed25519.
const signatureType = "aay"

// mergeDetached adds an image's detached metadata to what the repository has of a commit: anybody can make an image of a public commit,
// so an image takes nothing away. Of a key that is there already the repository's value stays; of lists of signatures the union is
// kept, so that each remote that accepted the commit goes on doing so. What this program notes there is not for an image to say.
func mergeDetached(ctx context.Context, repo *ostree.Repo, log *slog.Logger, c *objectset.CommitLayer) error {
	theirs, err := ostree.VariantFromBytes("a{sv}", c.Detached)
	if err != nil {
		return err
	}
	added, err := ostree.VariantDictOf(theirs)
	if err != nil {
		return err
	}
	for _, key := range []string{cachedManifestDigest, cachedManifest, cachedConfig, metaBaseDiffIDs} {
		added.Remove(key)
	}
	return changingDetached(ctx, repo, func() error { return addDetached(ctx, repo, log, c, theirs, added) })
}

// addDetached is mergeDetached under the lock; added is what may be taken of theirs.
func addDetached(ctx context.Context, repo *ostree.Repo, log *slog.Logger, c *objectset.CommitLayer, theirs *ostree.Variant, added *ostree.VariantDict) error {
	checksum := c.Checksum.String()
	old, err := repo.ReadDetachedMetadata(ctx, checksum)
	if err != nil {
		return err
	}
	if old != nil {
		for _, key := range old.Keys() {
			value, ok := old.Lookup(key)
			if !ok {
				continue
			}
			if also, ok := theirs.Lookup(key); ok && isSignatures(key, value) && isSignatures(key, also) {
				if value, err = unionOf(value, also); err != nil {
					return fmt.Errorf("%s: %w", key, err)
				}
			}
			added.Set(key, value)
		}
	}
	merged, err := added.Build()
	if err != nil {
		return err
	}
	if old != nil && old.Equal(merged) {
		return nil
	}
	if size := len(merged.Bytes()); old != nil && size > maxDetached {
		if c.VerifyText != "" { // what was just verified would be lost
			return fmt.Errorf("%d bytes together with what the repository has, at most %d are kept", size, maxDetached)
		}
		log.Warn("the image's detached metadata is not added: too large together with the repository's", "commit", checksum, "size", size)
		return nil
	}
	return repo.WriteDetachedMetadata(ctx, checksum, merged)
}

func isSignatures(key string, v *ostree.Variant) bool {
	return v.TypeString() == signatureType && (key == "ostree.gpgsigs" || strings.HasPrefix(key, "ostree.sign."))
}

// unionOf returns the signatures of a and then those that only b has.
func unionOf(a, b *ostree.Variant) (*ostree.Variant, error) {
	seen := map[string]bool{}
	var all []gvariant.Value
	for _, list := range []*ostree.Variant{a, b} {
		for n := range list.Len() {
			signature, err := list.Child(n).ByteArray()
			if err != nil {
				return nil, err
			}
			if !seen[string(signature)] {
				seen[string(signature)] = true
				all = append(all, gvariant.ByteArray(signature))
			}
		}
	}
	if len(all) == a.Len() {
		return a, nil
	}
	union, err := gvariant.Array("ay", all...)
	if err != nil {
		return nil, err
	}
	return ostree.VariantFromBytes(signatureType, union.Bytes())
}
