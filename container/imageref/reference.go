package imageref

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// ImageReference is an image: where it is kept and what it is called there.
// Values are comparable with ==; "registry:x" and "docker://x" parse to the same
// value. The zero value is no image.
type ImageReference struct {
	// Transport is one of the Transport constants.
	Transport Transport
	// Name is what follows the transport, without "//"; never empty in a
	// parsed reference. Its form depends on the transport.
	Name string
}

// Parse reads the text of an image reference, "TRANSPORT:NAME" or
// "docker://NAME". It splits at the first colon and takes the name as it is.
// Errors wrap ErrInvalidReference.
func Parse(s string) (ImageReference, error) {
	first, name, ok := strings.Cut(s, ":")
	if !ok {
		return ImageReference{}, invalidReference(s, "Missing ':' in "+s)
	}
	transport := TransportRegistry
	if first == "docker" {
		if name, ok = strings.CutPrefix(name, "//"); !ok {
			return ImageReference{}, invalidReference(s, "Missing // in docker:// in "+s)
		}
	} else {
		var err error
		if transport, err = transportByName(s, first); err != nil {
			return ImageReference{}, err
		}
	}
	if name == "" {
		return ImageReference{}, invalidReference(s, "Invalid empty name in "+s)
	}
	return ImageReference{Transport: transport, Name: name}, nil
}

// String returns the canonical text: "docker://NAME" for a registry,
// "TRANSPORT:NAME" for all others. Parse reads it back to an equal value. The
// ostree ref of an image is escaped from this text. The zero value gives "".
func (r ImageReference) String() string {
	if r.IsZero() {
		return ""
	}
	return r.Transport.prefix() + r.Name
}

// IsZero reports whether r is the zero value, that is, no image.
func (r ImageReference) IsZero() bool { return r == ImageReference{} }

// Digest returns the manifest digest that the name of a registry image ends in
// ("NAME@sha256:HEX" or "NAME:TAG@sha256:HEX"); false if there is none, if it is
// not a valid digest, or if the transport is another one.
func (r ImageReference) Digest() (digest.Digest, bool) {
	if r.Transport != TransportRegistry {
		return "", false
	}
	at := strings.LastIndexByte(r.Name, '@')
	if at < 0 {
		return "", false
	}
	d, err := digest.Parse(r.Name[at+1:])
	if err != nil {
		return "", false
	}
	return d, true
}

// PathAndTag splits the name of an oci or oci-archive image at its first colon:
// "/foo/bar:baz:latest" is the path "/foo/bar" and the tag "baz:latest". The tag
// is "" if there is no colon. For other transports the path is the whole name.
func (r ImageReference) PathAndTag() (path, tag string) {
	if r.Transport != TransportOCIDir && r.Transport != TransportOCIArchive {
		return r.Name, ""
	}
	path, tag, _ = strings.Cut(r.Name, ":")
	return path, tag
}

// MarshalText returns the canonical text, so that JSON holds a string.
func (r ImageReference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote, with the errors of Parse; an empty
// text is the zero value.
func (r *ImageReference) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = ImageReference{}
		return nil
	}
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
