package imageref

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	validTag   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	bareImage  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	namedStore = regexp.MustCompile(`^\[[^\]]*\]`)
)

// WithTag returns the reference with another tag: in place of its own, or added to a name that has none. The tag is one of the OCI
// distribution specification (1 to 128 of A-Z a-z 0-9 _ . -, not beginning with . or -). Errors wrap ErrInvalidReference: a name that
// says a digest or an ID has no tag to be replaced, and neither have the transports dir and docker-archive.
func (r ImageReference) WithTag(tag string) (ImageReference, error) {
	if !validTag.MatchString(tag) {
		return ImageReference{}, invalidReference(tag, fmt.Sprintf("Invalid tag: %q", tag))
	}
	refuse := func(why string) (ImageReference, error) {
		return ImageReference{}, invalidReference(r.String(), fmt.Sprintf("Cannot replace the tag of %s: %s", r, why))
	}
	switch r.Transport {
	case TransportOCIDir, TransportOCIArchive:
		path, old := r.PathAndTag()
		if strings.HasPrefix(old, "@") {
			return refuse("it names an image by its index")
		}
		r.Name = path + ":" + tag
	case TransportRegistry, TransportContainersStorage, TransportDockerDaemon:
		store := ""
		if r.Transport == TransportContainersStorage {
			store = namedStore.FindString(r.Name)
		}
		name := r.Name[len(store):]
		if strings.Contains(name, "@") {
			return refuse("it names an image by its digest")
		}
		if id := name[strings.LastIndexByte(name, ':')+1:]; r.Transport != TransportRegistry && bareImage.MatchString(id) {
			return refuse("it names an image by its ID")
		}
		if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
			name = name[:colon]
		}
		if name == "" {
			return refuse("there is no name before it")
		}
		r.Name = store + name + ":" + tag
	default:
		return refuse(fmt.Sprintf("the transport %s has none", r.Transport))
	}
	return r, nil
}
