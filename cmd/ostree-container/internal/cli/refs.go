package cli

import (
	"regexp"
	"strings"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// parseOSTreeRef reads an image reference that says how its signature is checked. The argument or option is called name.
func parseOSTreeRef(name, s string) (imageref.OSTreeImageReference, error) {
	ref, err := imageref.ParseOSTree(s)
	if err != nil {
		return ref, usagef("invalid value %q for %s: %w%s", s, name, err, hint(signatureHints(s)))
	}
	return ref, nil
}

// parseImageRef reads an image reference. One that says how its signature is checked will do too: that is how images
// are written elsewhere on the command line.
func parseImageRef(name, s string) (imageref.ImageReference, error) {
	ref, err := imageref.Parse(s)
	if err == nil {
		return ref, nil
	}
	if full, fullErr := imageref.ParseOSTree(s); fullErr == nil {
		return full.ImgRef, nil
	}
	var meant []string
	if rule, rest := cutRule(s); isRegistryName(rest) {
		meant = []string{rule + "docker://" + rest}
	}
	return ref, usagef("invalid value %q for %s: %w%s", s, name, err, hint(meant))
}

func hint(meant []string) string {
	if len(meant) == 0 {
		return ""
	}
	return "; did you mean " + strings.Join(meant, ", or ") + "?"
}

// signatureHints are what was probably meant by an image without a rule for its signature, or without a transport.
func signatureHints(s string) []string {
	rule, rest := cutRule(s)
	ref, err := imageref.Parse(rest)
	switch {
	case rule != "" && isRegistryName(rest):
		return []string{rule + "docker://" + rest}
	case rule != "":
		return nil
	case isRegistryName(rest):
		return signatureHints("docker://" + rest)
	case err != nil:
		return nil
	case ref.Transport == imageref.TransportRegistry:
		return []string{"ostree-image-signed:docker://" + ref.Name, "ostree-unverified-registry:" + ref.Name}
	}
	return []string{"ostree-image-signed:" + rest, "ostree-unverified-image:" + rest}
}

var (
	rules        = regexp.MustCompile(`^(ostree-image-signed|ostree-unverified-image|ostree-remote-image:[^:/]+):`)
	registryName = regexp.MustCompile(`^(localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+|[A-Za-z0-9.-]+:[0-9]+)(:[0-9]+)?/[A-Za-z0-9]`)
)

// cutRule splits a reference into the rule for its signature, with the colon, and the image.
func cutRule(s string) (rule, rest string) {
	rule = rules.FindString(s)
	return rule, s[len(rule):]
}

// isRegistryName reports whether s looks like HOST/NAME.
func isRegistryName(s string) bool { return registryName.MatchString(s) }
