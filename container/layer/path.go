package layer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Limits of names, in bytes, as Linux has them.
const (
	maxPath      = 4096
	maxComponent = 255
)

// Errors of names. They are wrapped in an *EntryError that quotes the name.
var (
	// ErrInvalidPath: a path over 4096 bytes, a component over 255 bytes, ".." or a NUL byte.
	ErrInvalidPath = errors.New("invalid path")
	// ErrNotUTF8: GVariant, and so a dirtree, holds no other names.
	ErrNotUTF8 = errors.New("not valid UTF-8, which OSTree needs")
)

// Whiteout names, as the OCI image specification has them ("Representing Changes").
const (
	WhiteoutPrefix = ".wh."
	OpaqueMarker   = ".wh..wh..opq"
)

// excluded are the toplevel directories that hold other file systems on a running host: the entry itself is kept, what is below
// is not.
var excluded = map[string]bool{"run": true, "tmp": true, "proc": true, "sys": true, "dev": true}

// rules are the host's rules for where an entry goes.
type rules struct{ allowNonUsr, retainVar bool }

// components splits a path into its real components: "." and empty ones do not count, an absolute path is taken from the root.
// "..", too long names and invalid UTF-8 are errors.
func components(name string) ([]string, error) {
	if len(name) > maxPath {
		return nil, fmt.Errorf("%w: %d bytes long, at most %d are possible", ErrInvalidPath, len(name), maxPath)
	}
	if !utf8.ValidString(name) {
		return nil, ErrNotUTF8
	}
	parts := make([]string, 0, 8)
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
		case part == "..":
			return nil, fmt.Errorf("%w: it contains \"..\"", ErrInvalidPath)
		case len(part) > maxComponent:
			return nil, fmt.Errorf("%w: a name of %d bytes, at most %d are possible", ErrInvalidPath, len(part), maxComponent)
		case strings.IndexByte(part, 0) >= 0:
			return nil, fmt.Errorf("%w: it contains a NUL byte", ErrInvalidPath)
		default:
			parts = append(parts, part)
		}
	}
	return parts, nil
}

// place says where an entry goes: its path in the commit without a leading slash ("" is the root), or, if dropped is not empty,
// under which name it is counted as filtered. regular says that the entry is a regular file, which alone can be a whiteout.
func (r rules) place(name string, regular bool) (path, dropped string, err error) {
	parts, err := components(name)
	if err != nil || len(parts) == 0 {
		return "", "", err
	}
	switch first := parts[0]; {
	case first == "usr":
	case first == "etc":
		parts[0] = "usr/etc"
	case first == "var":
		parts[0] = r.varPath()
	case excluded[first]:
		if len(parts) > 1 {
			return "", parts[1], nil
		}
	case regular && len(parts) == 1 && first == WhiteoutPrefix+"etc": // moves with its target
		parts[0] = "usr/" + first
	case regular && len(parts) == 1 && first == WhiteoutPrefix+"var":
		parts[0] = strings.TrimSuffix(r.varPath(), "var") + first
	case r.allowNonUsr:
	default:
		return "", first, nil
	}
	return strings.Join(parts, "/"), "", nil
}

// varPath is where /var goes: since libostree 2024.3 it may stay, before that the factory is what a host unpacks at boot.
func (r rules) varPath() string {
	if r.retainVar {
		return "var"
	}
	return "usr/share/factory/var"
}

// checkWhiteout refuses the names that would be whiteouts of nothing, of the directory itself or of its parent.
func checkWhiteout(base string) error {
	rest, ok := strings.CutPrefix(base, WhiteoutPrefix)
	if !ok {
		return nil
	}
	switch rest {
	case "":
		return fmt.Errorf("invalid empty whiteout %q", base)
	case ".", "..":
		return fmt.Errorf("invalid whiteout %q: it names no file", base)
	}
	return nil
}
