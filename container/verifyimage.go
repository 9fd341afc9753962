package container

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/ostree"
)

// Verification compares the merge commit of an image with its layers. Paths begin with "/".
type Verification struct {
	Verified       int      // files that are those of the layers
	InodeCorrupted []string // others, where inode numbers collide
	OtherCorrupted []string // others
}

// OK reports whether all files are those of the layers.
func (v *Verification) OK() bool { return len(v.InodeCorrupted) == 0 && len(v.OtherCorrupted) == 0 }

// VerifyImage merges the layers of an image anew, in memory, and compares the files with those of its merge commit, SELinux labels
// aside. What only the merge commit has does not count. Nothing is written. ErrNoSuchImage is returned if the image is not there.
func VerifyImage(ctx context.Context, repo *ostree.Repo, ref imageref.ImageReference) (_ *Verification, err error) {
	unlock, err := share(ctx, repo) // an import that labels these layers anew deletes what it replaces
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	state, err := QueryImage(ctx, repo, ref)
	if err != nil {
		return nil, err
	}
	v, err := verifyState(ctx, repo, state, nil, func(st *unix.Stat_t) uint64 { return st.Ino })
	if err != nil {
		return nil, fmt.Errorf("verify image %s: %w", ref, err)
	}
	return v, nil
}

func verifyState(ctx context.Context, repo *ostree.Repo, state *LayeredImageState, collisions []uint64, number func(*unix.Stat_t) uint64) (*Verification, error) {
	layers, err := storedLayers(state)
	if err != nil {
		return nil, err
	}
	i := &Importer{repo: repo}
	memory := &memoryTrees{repoLoader: repoLoader{repo}, trees: map[object.Checksum]*object.DirTree{}}
	tree := union.New(memory)
	for n := range layers {
		l := &layers[n]
		if l.Kind == LayerChunk {
			continue
		}
		commit, err := repo.ResolveRev(ctx, l.Ref)
		if err != nil {
			return nil, fmt.Errorf("Missing layer %s: %w", l.Ref, err) //nolint:staticcheck // the reference's text
		}
		root, meta, err := repoLoader{i.repo}.Root(ctx, commit)
		if err != nil {
			return nil, err
		}
		if l.Kind == LayerCommit {
			tree.Base(root, meta)
		} else if err := tree.Apply(ctx, root, meta); err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Descriptor.Digest, err)
		}
	}
	if err := removeInjected(ctx, repo, tree); err != nil {
		return nil, err
	}
	want, _, err := tree.Write(ctx, treeWriter{memory})
	if err != nil {
		return nil, err
	}
	have, _, err := repoLoader{i.repo}.Root(ctx, state.MergeCommit)
	if err != nil {
		return nil, err
	}
	c := &verifier{load: memory, repo: repo, collisions: collisions, number: number, result: &Verification{}}
	return c.result, c.dir(ctx, "/", want, have)
}

// memoryTrees keeps the directories of a union that are in no repository.
type memoryTrees struct {
	repoLoader
	trees map[object.Checksum]*object.DirTree
}

func (m *memoryTrees) DirTree(ctx context.Context, sum object.Checksum) (*object.DirTree, error) {
	if t := m.trees[sum]; t != nil {
		return t, nil
	}
	return m.repoLoader.DirTree(ctx, sum)
}

// treeWriter is memoryTrees as a union.Writer.
type treeWriter struct{ *memoryTrees }

func (w treeWriter) DirTree(_ context.Context, t *object.DirTree) (object.Checksum, error) {
	sum := object.Checksum(sha256.Sum256(t.Encode()))
	w.trees[sum] = t
	return sum, nil
}

// verifier compares the tree of a merge commit with what it should be.
type verifier struct {
	load       *memoryTrees
	repo       *ostree.Repo
	collisions []uint64 // sorted
	number     func(*unix.Stat_t) uint64
	result     *Verification
}

// dir compares two dirtrees. path ends in a slash.
func (v *verifier) dir(ctx context.Context, path string, want, have object.Checksum) error {
	if len(path) > maxPath {
		return fmt.Errorf("%w: path of more than %d bytes: %q", ErrLayout, maxPath, path)
	}
	wanted, err := v.load.DirTree(ctx, want)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	found, err := v.load.DirTree(ctx, have)
	if err != nil {
		return fmt.Errorf("directory %q: %w", path, err)
	}
	err = pairs(wanted.Files, found.Files, func(e *object.FileEntry) string { return e.Name },
		func(want, have *object.FileEntry) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return v.file(ctx, path, want, have)
		})
	if err != nil {
		return err
	}
	return pairs(wanted.Dirs, found.Dirs, func(e *object.DirEntry) string { return e.Name },
		func(want, have *object.DirEntry) error {
			switch {
			case want == nil:
				return nil
			case have == nil:
				v.result.OtherCorrupted = append(v.result.OtherCorrupted, path+want.Name)
				return nil
			}
			return v.dir(ctx, path+want.Name+"/", want.Tree, have.Tree)
		})
}

func (v *verifier) file(ctx context.Context, dir string, want, have *object.FileEntry) error {
	switch {
	case want == nil:
		return nil
	case have == nil:
		v.result.OtherCorrupted = append(v.result.OtherCorrupted, dir+want.Name)
		return nil
	}
	path := dir + want.Name
	if want.Sum != have.Sum {
		same, err := v.sameFile(ctx, want.Sum.String(), have.Sum.String())
		if err != nil {
			return fmt.Errorf("file %q: %w", path, err)
		}
		if !same {
			if v.collides(want.Sum) || v.collides(have.Sum) {
				v.result.InodeCorrupted = append(v.result.InodeCorrupted, path)
			} else {
				v.result.OtherCorrupted = append(v.result.OtherCorrupted, path)
			}
			return nil
		}
	}
	v.result.Verified++
	return nil
}

// sameFile compares two file objects except for their SELinux labels.
func (v *verifier) sameFile(ctx context.Context, want, have string) (same bool, err error) {
	a, err := v.repo.LoadFile(ctx, want)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	b, err := v.repo.LoadFile(ctx, have)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if a.Info != b.Info || !slices.EqualFunc(unlabelled(a.Xattrs), unlabelled(b.Xattrs), func(x, y ostree.Xattr) bool {
		return x.Name == y.Name && bytes.Equal(x.Value, y.Value)
	}) {
		return false, nil
	}
	return sameContent(a, b)
}

// unlabelled returns extended attributes, sorted, without the SELinux label.
func unlabelled(xattrs []ostree.Xattr) []ostree.Xattr {
	list := slices.DeleteFunc(slices.Clone(xattrs), func(x ostree.Xattr) bool { return x.Name == "security.selinux" })
	slices.SortFunc(list, func(a, b ostree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// collides reports whether the inode number of a file object is one of those that collide.
func (v *verifier) collides(sum object.Checksum) bool {
	if len(v.collisions) == 0 {
		return false
	}
	name := sum.String()
	var st unix.Stat_t
	if unix.Fstatat(v.repo.FD(), "objects/"+name[:2]+"/"+name[2:]+".file", &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return false
	}
	_, ok := slices.BinarySearch(v.collisions, v.number(&st))
	return ok
}
