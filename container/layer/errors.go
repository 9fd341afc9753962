package layer

import (
	"errors"
	"fmt"
)

// Errors of a layer's content. They are wrapped in an *EntryError.
var (
	// ErrLinkTarget: a hardlink's target is not in the layer, was filtered, is a directory, or is the link itself.
	ErrLinkTarget = errors.New("hardlink target")
	// ErrTypeConflict: one name is a directory and something else within one layer.
	ErrTypeConflict = errors.New("is both a directory and not a directory in this layer")
	// ErrUnsupported: an entry that cannot be in an OSTree commit (only with Options.Strict; otherwise it is filtered).
	ErrUnsupported = errors.New("cannot be stored in an OSTree commit")
	// ErrLimit: the layer exceeds one of Limits.
	ErrLimit = errors.New("limit exceeded")
)

// EntryError says at which entry of a layer something went wrong. Entry is the name as the tar stream has it.
type EntryError struct {
	Entry string
	Err   error
}

// Error names the entry and the cause.
func (e *EntryError) Error() string { return fmt.Sprintf("entry %q: %v", e.Entry, e.Err) }

// Unwrap returns Err.
func (e *EntryError) Unwrap() error { return e.Err }
