package oracle

import "strings"

// Notes says what a stack made the merge do that the ostree command of
// libostree 2022.7 cannot do or does wrong. CLI may run only if Safe.
type Notes struct {
	DirOverFile    bool // B20: it fails
	DirOverSymlink bool // B19: it follows the link, as root out of the tree
	SelfWhiteout   bool // B17, B52: it deletes the layer's own file
	EmptyXattr     bool // it loses xattrs with empty values (B21): libostree does not read them from disk
}

// Safe says whether the command's union is right for the stack.
func (n Notes) Safe() bool {
	return !n.DirOverFile && !n.DirOverSymlink && !n.SelfWhiteout && !n.EmptyXattr
}

// Merge makes the union of layers over base (nil for an image without an
// ostree base) and, as the last step, drops empty usr/etc/hostname and
// usr/etc/resolv.conf. Its arguments are not changed. Labels are not handled.
func Merge(base *Entry, layers ...*LayerTree) (*Entry, Notes) {
	root, n := union(base, layers)
	if etc := root.Lookup("usr/etc"); etc.IsDir() {
		for _, name := range []string{"hostname", "resolv.conf"} {
			if f := etc.Children[name]; f != nil && f.Mode&fmtMask == fmtReg && len(f.Content) == 0 {
				delete(etc.Children, name)
			}
		}
	}
	return root, n
}

// MergeRaw is Merge without the last step.
func MergeRaw(base *Entry, layers ...*LayerTree) *Entry {
	root, _ := union(base, layers)
	return root
}

func union(base *Entry, layers []*LayerTree) (*Entry, Notes) {
	var n Notes
	var root *Entry
	if base != nil {
		root = base.clone()
		n.EmptyXattr = hasEmptyXattr(base)
	}
	for _, l := range layers {
		n.EmptyXattr = n.EmptyXattr || hasEmptyXattr(l.Root)
		root = n.union(root, l.Root)
	}
	return root, n
}

func hasEmptyXattr(e *Entry) bool {
	for _, x := range e.Xattrs {
		if x.Value == "" {
			return true
		}
	}
	for _, c := range e.Children {
		if hasEmptyXattr(c) {
			return true
		}
	}
	return false
}

func isWhiteout(name string, e *Entry) bool {
	return strings.HasPrefix(name, ".wh.") && e.Mode&fmtMask == fmtReg
}

// union puts the layer directory src over dst (nil, a directory, or another
// type that it replaces) and returns the result.
func (n *Notes) union(dst, src *Entry) *Entry {
	if dst != nil && !dst.IsDir() {
		n.DirOverFile = n.DirOverFile || dst.Mode&fmtMask == fmtReg
		n.DirOverSymlink = n.DirOverSymlink || dst.Mode&fmtMask == fmtLink
		dst = nil
	}
	opq := src.Children[".wh..wh..opq"]
	if dst == nil || opq != nil && opq.Mode&fmtMask == fmtReg {
		fresh := *src // B23: an existing directory keeps its metadata otherwise
		fresh.Children = map[string]*Entry{}
		dst = &fresh
	}
	for name, e := range src.Children {
		if isWhiteout(name, e) {
			victim := strings.TrimPrefix(name, ".wh.")
			if own := src.Children[victim]; own != nil && !own.IsDir() && victim < name {
				n.SelfWhiteout = true
			}
			delete(dst.Children, victim)
		}
	}
	for name, e := range src.Children {
		switch {
		case isWhiteout(name, e):
		case e.IsDir():
			dst.Children[name] = n.union(dst.Children[name], e)
		default:
			dst.Children[name] = e
		}
	}
	return dst
}
