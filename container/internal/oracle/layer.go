package oracle

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

// Rules of a layer's import that depend on the base image and on libostree.
type Rules struct {
	UsrOnly bool   // toplevels other than usr, etc, var are filtered: a base without an overlay root
	Var     string // where var goes; "" is usr/share/factory/var (libostree before 2024.3)
	Raw     bool   // a base commit's tree: no path is changed or dropped
}

// Reasons why a layer is refused.
var (
	ErrPath     = errors.New("bad path")
	ErrConflict = errors.New("path through something that is not a directory, or another type for the same path")
	ErrHardlink = errors.New("hardlink without a target")
	ErrWhiteout = errors.New("bad whiteout name")
)

// LayerTree is the tree of a layer commit: whiteouts are still files.
type LayerTree struct {
	Root *Entry
	// Filtered counts dropped entries as the report does; devices and FIFOs
	// are in Devices instead, by their path in the tar, normalised.
	Filtered map[string]uint32
	Devices  []string
}

// clean splits a tar name into components, without empty ones and dots.
func clean(name string) ([]string, error) {
	if !utf8.ValidString(name) {
		return nil, fmt.Errorf("%w: not UTF-8: %q", ErrPath, name)
	}
	var out []string
	for _, c := range strings.Split(name, "/") {
		switch c {
		case "", ".":
		case "..":
			return nil, fmt.Errorf("%w: %q", ErrPath, name)
		default:
			out = append(out, c)
		}
	}
	return out, nil
}

// move applies the rules to the components of a path. A filtered path gives
// nil and the key it is counted under.
func (r Rules) move(parts []string) (to []string, key string) {
	if r.Raw || len(parts) == 0 {
		return parts, ""
	}
	varDir := r.Var
	if varDir == "" {
		varDir = "usr/share/factory/var"
	}
	join := func(dir string, rest []string) []string { return append(strings.Split(dir, "/"), rest...) }
	switch top := parts[0]; top {
	case "usr":
		return parts, ""
	case "etc":
		return join("usr/etc", parts[1:]), ""
	case "var":
		return join(varDir, parts[1:]), ""
	case "run", "tmp", "proc", "sys", "dev":
		if len(parts) > 1 {
			return nil, parts[1]
		}
		return parts, ""
	case ".wh.etc":
		return []string{"usr", ".wh.etc"}, ""
	case ".wh.var":
		dir, _ := cutLast(varDir)
		if dir == "" {
			return []string{".wh.var"}, ""
		}
		return join(dir, []string{".wh.var"}), ""
	default:
		if r.UsrOnly {
			return nil, top
		}
		return parts, ""
	}
}

func cutLast(p string) (dir, base string) {
	i := strings.LastIndexByte(p, '/')
	return p[:max(i, 0)], p[i+1:]
}

// Layer gives the tree that the members of a layer must become.
func Layer(members []testimage.Member, rules Rules) (*LayerTree, error) {
	t := &LayerTree{Root: newDir(), Filtered: map[string]uint32{}}
	type link struct{ from, to, text string }
	links := map[string]link{} // place of a hardlink -> place of its target
	var global []testimage.Record
	for i, m := range members {
		if m.Raw != nil {
			return nil, fmt.Errorf("member %d is raw: the model cannot read it", i)
		}
		if m.Type == testimage.TypeGlobal {
			global = append(global, m.PAX...)
			continue
		}
		applyGlobal(&m, global)
		parts, err := clean(m.Name)
		if err != nil {
			return nil, err
		}
		to, key := rules.move(parts)
		if to == nil && key != "" {
			t.Filtered[key]++
			continue
		}
		path := strings.Join(to, "/")
		e := &Entry{Mode: uint32(m.Mode) & 0o7777, UID: uint32(m.UID), GID: uint32(m.GID), Xattrs: sortXattrs(m.Xattrs)}
		switch m.Type {
		case testimage.TypeDir:
			e.Mode |= fmtDir
		case testimage.TypeReg, testimage.TypeRegOld, testimage.TypeGNUSparse, '7':
			if strings.HasSuffix(m.Name, "/") && m.Type == testimage.TypeRegOld {
				e.Mode |= fmtDir
				break
			}
			e.Mode |= fmtReg
			e.Content = m.Data()
		case testimage.TypeSymlink:
			e.Mode = fmtLink | 0o777 // B47
			e.Target = m.Linkname
		case testimage.TypeHardlink:
			parts, err := clean(m.Linkname)
			if err != nil {
				return nil, err
			}
			target, _ := rules.move(parts)
			if target == nil {
				return nil, fmt.Errorf("%w: %q to %q (filtered)", ErrHardlink, m.Name, m.Linkname)
			}
			links[path] = link{path, strings.Join(target, "/"), m.Linkname}
			e.Mode = fmtReg // a placeholder of some file type
		default:
			t.Devices = append(t.Devices, strings.Join(parts, "/"))
			continue
		}
		if m.Type != testimage.TypeHardlink {
			if _, base := cutLast(path); e.Mode&fmtMask == fmtReg {
				if err := checkWhiteout(base); err != nil {
					return nil, err
				}
			}
			delete(links, path) // B50: the last member of a name wins
		}
		if err := t.put(to, e); err != nil {
			return nil, err
		}
	}
	// Hardlinks take what their target is at the end of the layer.
	for path := range links {
		at, seen := path, map[string]bool{}
		for {
			if seen[at] {
				return nil, fmt.Errorf("%w: %q links to itself", ErrHardlink, path)
			}
			seen[at] = true
			l, ok := links[at]
			if !ok {
				break
			}
			at = l.to
		}
		target := t.Root.Lookup(at)
		if target == nil || target.IsDir() {
			return nil, fmt.Errorf("%w: %q to %q", ErrHardlink, path, links[path].text)
		}
		dir, base := cutLast(path)
		t.Root.Lookup(dir).Children[base] = target
	}
	return t, nil
}

// put places e, making missing parents root:root 0755.
func (t *LayerTree) put(path []string, e *Entry) error {
	if len(path) == 0 {
		if !e.IsDir() {
			return fmt.Errorf("%w: the root", ErrConflict)
		}
		e.Children, t.Root = t.Root.Children, e
		return nil
	}
	dir := t.Root
	for _, n := range path[:len(path)-1] {
		child := dir.Children[n]
		if child == nil {
			child = newDir()
			dir.Children[n] = child
		}
		if !child.IsDir() {
			return fmt.Errorf("%w: %s", ErrConflict, strings.Join(path, "/"))
		}
		dir = child
	}
	name := path[len(path)-1]
	old := dir.Children[name]
	if old != nil && old.IsDir() != e.IsDir() {
		return fmt.Errorf("%w: %s", ErrConflict, strings.Join(path, "/"))
	}
	if e.IsDir() {
		if e.Children = map[string]*Entry{}; old != nil {
			e.Children = old.Children
		}
	}
	dir.Children[name] = e
	return nil
}

func checkWhiteout(base string) error {
	name, ok := strings.CutPrefix(base, ".wh.")
	if !ok || base == ".wh..wh..opq" {
		return nil
	}
	if name == "" || name == "." || name == ".." { // B51
		return fmt.Errorf("%w: %q", ErrWhiteout, base)
	}
	return nil
}

// applyGlobal applies PAX global records to a member (B49).
func applyGlobal(m *testimage.Member, global []testimage.Record) {
	for _, r := range global {
		if n, ok := strings.CutPrefix(r.Key, "SCHILY.xattr."); ok &&
			!slices.ContainsFunc(m.Xattrs, func(x testimage.Xattr) bool { return x.Name == n }) {
			m.Xattrs = append(slices.Clip(m.Xattrs), testimage.Xattr{Name: n, Value: r.Value})
		}
		switch r.Key {
		case "uid":
			fmt.Sscan(r.Value, &m.UID)
		case "gid":
			fmt.Sscan(r.Value, &m.GID)
		case "path":
			m.Name = r.Value
		}
	}
}

// sortXattrs gives the attributes as stored: sorted by name, the last of a
// name (B21).
func sortXattrs(in []testimage.Xattr) []testimage.Xattr {
	var out []testimage.Xattr
	for _, x := range in {
		i, found := slices.BinarySearchFunc(out, x.Name, func(e testimage.Xattr, n string) int { return strings.Compare(e.Name, n) })
		if found {
			out[i] = x
		} else {
			out = slices.Insert(out, i, x)
		}
	}
	return out
}
