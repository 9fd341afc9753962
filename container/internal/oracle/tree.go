package oracle

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

// File type bits of Entry.Mode.
const (
	fmtMask = 0o170000
	fmtDir  = 0o040000
	fmtReg  = 0o100000
	fmtLink = 0o120000
)

// Entry is a file, symlink or directory of a tree.
type Entry struct {
	Mode     uint32 // with file type bits
	UID, GID uint32
	Xattrs   []testimage.Xattr // sorted by name
	Content  []byte            // of a regular file
	Target   string            // of a symlink
	Children map[string]*Entry // of a directory

	auto bool // a directory made as a missing parent
}

// IsDir says whether e is a directory.
func (e *Entry) IsDir() bool { return e != nil && e.Mode&fmtMask == fmtDir }

func newDir() *Entry { return &Entry{Mode: fmtDir | 0o755, Children: map[string]*Entry{}, auto: true} }

// names gives the children in the order of a dirtree object: files, then
// directories, each sorted bytewise.
func (e *Entry) names() (files, dirs []string) {
	for n, c := range e.Children {
		if c.IsDir() {
			dirs = append(dirs, n)
		} else {
			files = append(files, n)
		}
	}
	slices.Sort(files)
	slices.Sort(dirs)
	return files, dirs
}

// Lookup returns the entry at a path relative to e, or nil.
func (e *Entry) Lookup(path string) *Entry {
	for _, n := range strings.Split(strings.Trim(path, "/"), "/") {
		if n == "" {
			continue
		}
		if !e.IsDir() {
			return nil
		}
		e = e.Children[n]
	}
	return e
}

func (e *Entry) clone() *Entry {
	c := *e
	if e.Children != nil {
		c.Children = make(map[string]*Entry, len(e.Children))
		for n, child := range e.Children {
			c.Children[n] = child.clone()
		}
	}
	return &c
}

// List is what "ostree ls -R -X -C COMMIT" prints for the tree.
func (e *Entry) List() string {
	var b strings.Builder
	e.list(&b, "/")
	return b.String()
}

func (e *Entry) list(b *strings.Builder, path string) {
	kind, size, sums := '-', len(e.Content), ""
	switch e.Mode & fmtMask {
	case fmtDir:
		kind, sums = 'd', e.TreeChecksum()+" "+e.MetaChecksum()
	case fmtLink:
		kind, size, sums = 'l', 0, e.FileChecksum()
	default:
		sums = e.FileChecksum()
	}
	fmt.Fprintf(b, "%c0%04o %d %d %6d %s { %s } %s", kind, e.Mode&^fmtMask, e.UID, e.GID, size, sums, printXattrs(e.Xattrs), path)
	if kind == 'l' {
		b.WriteString(" -> " + e.Target)
	}
	b.WriteByte('\n')
	if kind != 'd' {
		return
	}
	files, dirs := e.names()
	for _, n := range append(files, dirs...) {
		e.Children[n].list(b, strings.TrimSuffix(path, "/")+"/"+n)
	}
}
