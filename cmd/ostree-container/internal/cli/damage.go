package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// withRemedy adds to an error about a missing or broken object of a repository what can be done about it.
func withRemedy(err error, repo string) error {
	if err == nil || !isDamage(err) || strings.Contains(err.Error(), "ostree fsck --repo") {
		return err
	}
	return fmt.Errorf(`%w; "ostree fsck --repo=%s" lists what is wrong: remove the image, "ostree prune --refs-only", and pull it again`, err, repo)
}

// withAdvice adds to an error what can be done about it where it does not say so.
func withAdvice(err error) error {
	if errors.Is(err, registry.ErrInsecurePolicy) {
		return fmt.Errorf("%w; give the image's registry a rule that demands signatures there (containers-policy.json(5)), or, to check none, write ostree-unverified-registry:NAME or ostree-unverified-image:IMAGE", err)
	}
	return err
}

// isDamage reports whether an error is about an object that should be there, and whole. libostree has no codes of its own for that. What
// is wrong in an image is not the repository's fault.
func isDamage(err error) bool {
	var entry *layer.EntryError
	if errors.As(err, &entry) || errors.Is(err, objectset.ErrFormat) {
		return false
	}
	if errors.Is(err, ostree.ErrCorrupt) || errors.Is(err, container.ErrIncomplete) {
		return true
	}
	text := err.Error()
	for _, part := range []string{"No such metadata object", "Couldn't find file object", "corrupted object", "Corrupted ", "in normal form"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}
