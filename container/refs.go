package container

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// Prefixes of refs; the rest is escaped.
const (
	layerPrefix = "ostree/container/blob"
	imagePrefix = "ostree/container/image"
	basePrefix  = "ostree/container/baseimage"
)

// deploymentPrefixes hold commits that are deployed or that another tool wants kept.
var deploymentPrefixes = []string{"ostree/0", "ostree/1", "rpmostree/base", basePrefix}

func layerRef(d digest.Digest) (string, error) {
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("layer digest %q: %w", d, err)
	}
	return imageref.EscapeRef(layerPrefix, d.String())
}

// imageRef returns the ref under which an image is kept. A name that gives a ref OSTree refuses is an error here, before anything
// is fetched.
func imageRef(ref imageref.ImageReference) (string, error) {
	name, err := imageref.EscapeRef(imagePrefix, ref.String())
	if err != nil {
		return "", err
	}
	if err := ostree.ValidateRev(name); err != nil {
		return "", fmt.Errorf("image %s cannot be kept under a ref: %w", ref, err)
	}
	return name, nil
}

// imageOfRef is the inverse of imageRef.
func imageOfRef(ref string) (imageref.ImageReference, error) {
	text, err := imageref.UnescapeRef(imagePrefix, ref)
	if err != nil {
		return imageref.ImageReference{}, err
	}
	return imageref.Parse(text)
}

func under(prefix, ref string) bool { return strings.HasPrefix(ref, prefix+"/") }
