package imageref

import "strings"

// SignatureKind says what must have signed an image.
type SignatureKind int

// The kinds of signature check. The zero value is the strictest that needs no
// further data.
const (
	// SignatureContainerPolicy asks containers-policy.json(5), and refuses a
	// policy whose default accepts anything: "ostree-image-signed".
	SignatureContainerPolicy SignatureKind = iota
	// SignatureOSTreeRemote asks for an ostree commit signed for a remote of
	// the repository: "ostree-remote-image:REMOTE".
	SignatureOSTreeRemote
	// SignatureInsecure asks containers-policy.json(5) too, and takes a policy
	// that accepts anything: "ostree-unverified-image".
	SignatureInsecure
)

// SignatureSource is the rule by which an image is checked. Values are
// comparable with ==. The zero value is SignatureContainerPolicy.
type SignatureSource struct {
	// Kind is the rule.
	Kind SignatureKind
	// Remote names the ostree remote; empty unless Kind is SignatureOSTreeRemote.
	Remote string
}

const (
	schemeSigned     = "ostree-image-signed"
	schemeUnverified = "ostree-unverified-image"
	schemeRemote     = "ostree-remote-image"

	// Short forms for images in a registry.
	schemeUnverifiedRegistry = "ostree-unverified-registry"
	schemeRemoteRegistry     = "ostree-remote-registry"
)

// ParseSignatureSource reads a rule on its own: "ostree-image-signed",
// "ostree-unverified-image" or "ostree-remote-image:REMOTE". Errors wrap
// ErrInvalidReference.
func ParseSignatureSource(s string) (SignatureSource, error) {
	switch s {
	case schemeSigned:
		return SignatureSource{Kind: SignatureContainerPolicy}, nil
	case schemeUnverified:
		return SignatureSource{Kind: SignatureInsecure}, nil
	}
	remote, ok := strings.CutPrefix(s, schemeRemote+":")
	if !ok {
		return SignatureSource{}, invalidReference(s, "Invalid signature source: "+s)
	}
	if remote == "" {
		return SignatureSource{}, invalidReference(s, "Invalid empty remote name in "+s)
	}
	return SignatureSource{Kind: SignatureOSTreeRemote, Remote: remote}, nil
}

// String returns the text that ParseSignatureSource reads.
func (s SignatureSource) String() string {
	switch s.Kind {
	case SignatureOSTreeRemote:
		return schemeRemote + ":" + s.Remote
	case SignatureInsecure:
		return schemeUnverified
	default:
		return schemeSigned
	}
}

// MarshalText returns String, so that JSON holds a string.
func (s SignatureSource) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote, with the errors of ParseSignatureSource.
func (s *SignatureSource) UnmarshalText(text []byte) error {
	parsed, err := ParseSignatureSource(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// OSTreeImageReference is an image together with the rule for checking its
// signature, as it stands in an origin file under container-image-reference.
// Values are comparable with ==. The zero value is no image.
type OSTreeImageReference struct {
	// SigVerify is the rule.
	SigVerify SignatureSource
	// ImgRef is the image.
	ImgRef ImageReference
}

// ParseOSTree reads an image reference with its signature scheme:
//
//	ostree-image-signed:IMG
//	ostree-unverified-image:IMG
//	ostree-unverified-registry:NAME       ostree-unverified-image:docker://NAME
//	ostree-remote-image:REMOTE:IMG
//	ostree-remote-registry:REMOTE:NAME    ostree-remote-image:REMOTE:docker://NAME
//
// where IMG is what Parse reads. Errors wrap ErrInvalidReference.
func ParseOSTree(s string) (OSTreeImageReference, error) {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok {
		return OSTreeImageReference{}, invalidReference(s, "Missing ':' in "+s)
	}
	var source SignatureSource
	switch scheme {
	case schemeSigned:
		source.Kind = SignatureContainerPolicy
	case schemeUnverified:
		source.Kind = SignatureInsecure
	case schemeUnverifiedRegistry:
		source.Kind = SignatureInsecure
		rest = "registry:" + rest
	case schemeRemote, schemeRemoteRegistry:
		source.Kind = SignatureOSTreeRemote
		if source.Remote, rest, ok = strings.Cut(rest, ":"); !ok {
			return OSTreeImageReference{}, invalidReference(s, "Missing second ':' in "+s)
		}
		if source.Remote == "" {
			return OSTreeImageReference{}, invalidReference(s, "Invalid empty remote name in "+s)
		}
		if scheme == schemeRemoteRegistry {
			rest = "registry:" + rest
		}
	default:
		return OSTreeImageReference{}, invalidReference(s, "Invalid ostree image reference scheme: "+scheme)
	}
	image, err := Parse(rest)
	if err != nil {
		return OSTreeImageReference{}, err
	}
	return OSTreeImageReference{SigVerify: source, ImgRef: image}, nil
}

// String returns the canonical text, which ParseOSTree reads back to an equal
// value: "ostree-unverified-registry:NAME" for an unverified registry image,
// SCHEME:IMG for all others. The zero value gives "".
func (r OSTreeImageReference) String() string {
	if r.unverifiedRegistry() {
		return schemeUnverifiedRegistry + ":" + r.ImgRef.Name
	}
	return r.full()
}

// Short returns the text for messages: as String, but without the scheme
// ("docker://NAME") for an unverified registry image. ParseOSTree does not read
// that form. It is ostree-rs-ext's alternate form, {:#}.
func (r OSTreeImageReference) Short() string {
	if r.unverifiedRegistry() {
		return r.ImgRef.String()
	}
	return r.full()
}

// IsZero reports whether r is the zero value, that is, no image.
func (r OSTreeImageReference) IsZero() bool { return r == OSTreeImageReference{} }

func (r OSTreeImageReference) unverifiedRegistry() bool {
	return r.SigVerify.Kind == SignatureInsecure && r.ImgRef.Transport == TransportRegistry
}

func (r OSTreeImageReference) full() string {
	if r.IsZero() {
		return ""
	}
	return r.SigVerify.String() + ":" + r.ImgRef.String()
}

// MarshalText returns String, so that JSON holds a string.
func (r OSTreeImageReference) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what MarshalText wrote, with the errors of ParseOSTree; an
// empty text is the zero value.
func (r *OSTreeImageReference) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = OSTreeImageReference{}
		return nil
	}
	parsed, err := ParseOSTree(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}
