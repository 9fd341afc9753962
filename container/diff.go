package container

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// DiffChange says how an entry of a tree differs.
type DiffChange string

// Changes.
const (
	DiffAdded    DiffChange = "added"
	DiffRemoved  DiffChange = "removed"
	DiffModified DiffChange = "modified" // content, or target of a symlink
	DiffMetadata DiffChange = "metadata" // only owner, mode or extended attributes
)

// DiffEntry is a file, symlink or directory that differs between two trees. One that changed its type is two entries.
type DiffEntry struct {
	Path   string // from the root of the commit, beginning with "/"
	Kind   string // "file", "symlink" or "dir"
	Change DiffChange
	// OldSize and NewSize are the sizes of a regular file, in bytes; 0 where there is none.
	OldSize, NewSize int64
}

// TreeDiff is what differs between the trees of two commits.
type TreeDiff struct {
	From, To string      // commits, 64 hex digits
	Entries  []DiffEntry // a directory before what is in it
}

// DiffCount counts entries. Directories count as added, removed or metadata like files.
type DiffCount struct {
	Path                               string // the directory that this is about, beginning with "/"
	Added, Removed, Modified, Metadata int
	OldSize, NewSize                   int64 // of the files that differ, in bytes
}

// Total counts all entries.
func (d *TreeDiff) Total() DiffCount {
	total := DiffCount{Path: "/"}
	for _, e := range d.Entries {
		total.add(e)
	}
	return total
}

// ByDir counts the entries in each directory of a depth, 1 being those in the root, and in those above it that have entries of their
// own, sorted by path.
func (d *TreeDiff) ByDir(depth int) []DiffCount {
	counts := map[string]*DiffCount{}
	for _, e := range d.Entries {
		parts := strings.Split(strings.Trim(e.Path, "/"), "/")
		n := min(depth, len(parts)-1)
		if e.Kind == "dir" {
			n = min(depth, len(parts))
		}
		dir := "/" + strings.Join(parts[:n], "/")
		if counts[dir] == nil {
			counts[dir] = &DiffCount{Path: dir}
		}
		counts[dir].add(e)
	}
	list := make([]DiffCount, 0, len(counts))
	for _, c := range counts {
		list = append(list, *c)
	}
	slices.SortFunc(list, func(a, b DiffCount) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

func (c *DiffCount) add(e DiffEntry) {
	switch e.Change {
	case DiffAdded:
		c.Added++
	case DiffRemoved:
		c.Removed++
	case DiffModified:
		c.Modified++
	case DiffMetadata:
		c.Metadata++
	}
	c.OldSize += e.OldSize
	c.NewSize += e.NewSize
}

// ResolveCommit returns the commit that a name stands for: an image in the repository, a ref, or a checksum, in this order. An image may
// be written with or without its signature rule. ErrNoSuchImage is returned if it is nothing of that.
func ResolveCommit(ctx context.Context, repo *ostree.Repo, name string) (string, error) {
	ref, err := imageref.Parse(name)
	if err != nil {
		var full imageref.OSTreeImageReference
		if full, err = imageref.ParseOSTree(name); err == nil {
			ref = full.ImgRef
		}
	}
	if err == nil {
		refName, err := imageRef(ref)
		if err != nil {
			return "", err
		}
		commit, err := repo.ResolveRev(ctx, refName)
		if err == nil || !errors.Is(err, ostree.ErrNotFound) {
			return commit, err
		}
	}
	if ostree.ValidateRev(name) == nil || ostree.ValidateChecksum(name) == nil {
		commit, err := repo.ResolveRev(ctx, name)
		if err == nil { // a checksum is one even if there is no such commit
			var ok bool
			if ok, err = repo.HasObject(ctx, ostree.ObjectCommit, commit); ok || err == nil && commit != name {
				return commit, nil // what a ref names should be there: whoever loads it says that it is not
			}
		}
		if err != nil && !errors.Is(err, ostree.ErrNotFound) {
			return "", err
		}
	}
	return "", fmt.Errorf("%w, ref or commit: %s", ErrNoSuchImage, name)
}

// DiffCommits compares the trees of two commits of a repository, 64 hex digits each.
func DiffCommits(ctx context.Context, repo *ostree.Repo, from, to string) (*TreeDiff, error) {
	d := &differ{repo: repo, diff: &TreeDiff{From: from, To: to, Entries: []DiffEntry{}}}
	var roots [2]object.DirEntry
	for n, checksum := range []string{from, to} {
		commit, _, err := repo.LoadCommit(ctx, checksum)
		if err != nil {
			return nil, err
		}
		if roots[n].Tree, roots[n].Meta, err = rootOf(commit); err != nil {
			return nil, err
		}
	}
	if err := d.dir(ctx, "/", &roots[0], &roots[1]); err != nil {
		return nil, fmt.Errorf("compare commit %s with %s: %w", from, to, err)
	}
	return d.diff, nil
}

type differ struct {
	repo *ostree.Repo
	diff *TreeDiff
}

// dir compares two directories, of which one may be nil. path ends in a slash.
func (d *differ) dir(ctx context.Context, path string, from, to *object.DirEntry) error {
	if len(path) > maxPath {
		return fmt.Errorf("%w: path of more than %d bytes: %q", ErrLayout, maxPath, path)
	}
	name := path
	if path != "/" {
		name = strings.TrimSuffix(path, "/")
	}
	var trees [2]object.DirTree
	for n, entry := range []*object.DirEntry{from, to} {
		if entry == nil || from != nil && to != nil && from.Tree == to.Tree {
			continue
		}
		tree, err := repoLoader{d.repo}.DirTree(ctx, entry.Tree)
		if err != nil {
			return fmt.Errorf("directory %q: %w", name, err)
		}
		trees[n] = *tree
	}
	switch {
	case from == nil:
		d.add(DiffEntry{Path: name, Kind: "dir", Change: DiffAdded})
	case to == nil:
		d.add(DiffEntry{Path: name, Kind: "dir", Change: DiffRemoved})
	case from.Meta != to.Meta:
		d.add(DiffEntry{Path: name, Kind: "dir", Change: DiffMetadata})
	}
	if err := d.files(ctx, path, trees[0].Files, trees[1].Files); err != nil {
		return err
	}
	return pairs(trees[0].Dirs, trees[1].Dirs, func(e *object.DirEntry) string { return e.Name },
		func(from, to *object.DirEntry) error {
			some := from
			if some == nil {
				some = to
			} else if to != nil && from.Tree == to.Tree && from.Meta == to.Meta {
				return nil
			}
			return d.dir(ctx, path+some.Name+"/", from, to)
		})
}

func (d *differ) add(e DiffEntry) { d.diff.Entries = append(d.diff.Entries, e) }

func (d *differ) files(ctx context.Context, path string, from, to []object.FileEntry) error {
	return pairs(from, to, func(e *object.FileEntry) string { return e.Name },
		func(from, to *object.FileEntry) error {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if from != nil && to != nil && from.Sum == to.Sum {
				return nil
			}
			return d.file(ctx, path, from, to)
		})
}

// file reports a file that is in one tree only, or is not the same in both.
func (d *differ) file(ctx context.Context, dir string, from, to *object.FileEntry) (err error) {
	var files [2]*ostree.File
	path := dir
	for n, entry := range []*object.FileEntry{from, to} {
		if entry == nil {
			continue
		}
		path = dir + entry.Name
		f, loadErr := d.repo.LoadFile(ctx, entry.Sum.String())
		if loadErr != nil {
			return fmt.Errorf("file %q: %w", path, loadErr)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		files[n] = f
	}
	before, after := files[0], files[1]
	switch {
	case before == nil:
		d.add(DiffEntry{Path: path, Kind: fileKind(after), Change: DiffAdded, NewSize: after.Info.Size})
	case after == nil:
		d.add(DiffEntry{Path: path, Kind: fileKind(before), Change: DiffRemoved, OldSize: before.Info.Size})
	case fileKind(before) != fileKind(after):
		d.add(DiffEntry{Path: path, Kind: fileKind(before), Change: DiffRemoved, OldSize: before.Info.Size})
		d.add(DiffEntry{Path: path, Kind: fileKind(after), Change: DiffAdded, NewSize: after.Info.Size})
	default:
		e := DiffEntry{Path: path, Kind: fileKind(after), Change: DiffModified, OldSize: before.Info.Size, NewSize: after.Info.Size}
		same, err := sameContent(before, after)
		if err != nil {
			return fmt.Errorf("file %q: %w", path, err)
		}
		if same {
			e.Change = DiffMetadata
		}
		d.add(e)
	}
	return nil
}

func fileKind(f *ostree.File) string {
	if f.Info.Mode&ostree.ModeTypeMask == ostree.ModeTypeSymlink {
		return "symlink"
	}
	return "file"
}

func sameContent(a, b *ostree.File) (bool, error) {
	if fileKind(a) == "symlink" || a.Info.Size != b.Info.Size {
		return a.Info.SymlinkTarget == b.Info.SymlinkTarget && a.Info.Size == b.Info.Size, nil
	}
	var parts [2][64 << 10]byte
	for {
		n, errA := io.ReadFull(a, parts[0][:])
		m, errB := io.ReadFull(b, parts[1][:])
		if !bytes.Equal(parts[0][:n], parts[1][:m]) {
			return false, nil
		}
		for _, err := range []error{errA, errB} {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return true, nil
			}
			if err != nil {
				return false, err
			}
		}
	}
}

// pairs walks two lists that are sorted by name and visits each name once, with nil for the list that lacks it.
func pairs[E any](from, to []E, name func(*E) string, visit func(from, to *E) error) error {
	for len(from) > 0 || len(to) > 0 {
		order := 0
		switch {
		case len(from) == 0:
			order = 1
		case len(to) == 0:
			order = -1
		default:
			order = strings.Compare(name(&from[0]), name(&to[0]))
		}
		var a, b *E
		if order <= 0 {
			a, from = &from[0], from[1:]
		}
		if order >= 0 {
			b, to = &to[0], to[1:]
		}
		if err := visit(a, b); err != nil {
			return err
		}
	}
	return nil
}
