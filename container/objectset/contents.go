package objectset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// ErrIncomplete is wrapped by errors about a commit that lacks objects or has corrupted ones.
var ErrIncomplete = errors.New("incomplete commit")

// Contents is what a commit consists of, before any of its files are read. It is not changed by what writes layers and may be used
// by several at once.
type Contents struct {
	Commit *ostree.Commit
	// Files are the regular files and symlinks, sorted by checksum.
	Files []ContentFile

	repo      *ostree.Repo
	sum       object.Checksum
	data      []byte // the commit object
	detached  []byte // nil: none
	steps     []step
	hasVarTmp bool
}

// ContentFile is an object with the names it has in the tree.
type ContentFile struct {
	Sum   object.Checksum
	Paths []string // relative to the root, in the order of the tree
}

// step is one directory of the tree, or one metadata object.
type step struct {
	dir  string // as a member of the tar; "" for an object
	meta *object.Meta
	name string // of the object
	data []byte
}

// LoadContents walks over a commit (64 hex digits). All its metadata objects are read, its files are not.
func LoadContents(ctx context.Context, repo *ostree.Repo, checksum string) (*Contents, error) {
	commit, state, err := repo.LoadCommit(ctx, checksum)
	if err != nil {
		return nil, err
	}
	if state&ostree.CommitPartial != 0 {
		return nil, fmt.Errorf("commit %s: %w: it is marked as partial; pull it again", checksum, ErrIncomplete)
	}
	c := &Contents{Commit: commit, repo: repo, data: commit.Variant().Bytes()}
	if c.sum, err = object.ParseChecksum(checksum); err != nil {
		return nil, err
	}
	if got := object.Sum(c.data); got != c.sum {
		return nil, c.broken(checksum+".commit", "", fmt.Errorf("its checksum is %s", got))
	}
	detached, err := repo.ReadDetachedMetadata(ctx, checksum)
	if err != nil {
		return nil, err
	}
	if detached != nil {
		c.detached = slices.Clip(detached.Bytes())
	}
	l := &contentsLoader{Contents: c, written: map[string]bool{}, files: map[object.Checksum][]string{}, metas: map[string]*object.Meta{}}
	if err := l.dirmeta(ctx, commit.RootMeta, "/"); err != nil {
		return nil, err
	}
	root := l.steps[0]
	if err := l.dirtree(ctx, commit.RootTree, "", true); err != nil {
		return nil, err
	}
	c.steps = append([]step{{dir: "./", meta: l.metas[commit.RootMeta]}, root}, c.steps[1:]...)
	for _, sum := range slices.SortedFunc(maps.Keys(l.files), object.Checksum.Compare) {
		c.Files = append(c.Files, ContentFile{Sum: sum, Paths: l.files[sum]})
	}
	return c, nil
}

// broken is the error about an object of the commit, with what to do about it.
func (c *Contents) broken(name, path string, err error) error {
	if path != "" {
		path = fmt.Sprintf(" of %q", path)
	}
	return fmt.Errorf("commit %s: %w: object %s%s: %w; \"ostree fsck --repo=%s\" lists what is wrong, pulling again brings it back",
		c.Commit.Checksum, ErrIncomplete, name, path, err, c.repo.Path())
}

type contentsLoader struct {
	*Contents
	written map[string]bool // names of metadata objects
	files   map[object.Checksum][]string
	metas   map[string]*object.Meta // by checksum of the dirmeta
}

func (l *contentsLoader) object(ctx context.Context, typ ostree.ObjectType, sum, path string) ([]byte, error) {
	data, err := l.repo.LoadVariantBytes(ctx, typ, sum)
	name := sum + "." + typ.String()
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, l.broken(name, path, err)
	}
	if got := object.Sum(data); got.String() != sum {
		return nil, l.broken(name, path, fmt.Errorf("corrupted, its checksum is %s", got))
	}
	if !l.written[name] {
		l.written[name] = true
		l.steps = append(l.steps, step{name: objectPath(sum, typ.String()), data: data})
	}
	return data, nil
}

func (l *contentsLoader) dirmeta(ctx context.Context, sum, path string) error {
	if l.metas[sum] != nil {
		return nil
	}
	data, err := l.object(ctx, ostree.ObjectDirMeta, sum, path)
	if err != nil {
		return err
	}
	if l.metas[sum], err = object.DecodeMeta(data); err != nil {
		return l.broken(sum+".dirmeta", path, err)
	}
	return nil
}

// maxDepth is how long a path may be, in bytes, as on Linux.
const maxDepth = 4096

// dirtree adds what is below a directory. Trees below /sysroot are part of the commit, but their names are not shown in a container: it has
// the repository there.
func (l *contentsLoader) dirtree(ctx context.Context, sum, dir string, visible bool) error {
	if len(dir) > maxDepth {
		return l.broken(sum+".dirtree", dir, errors.New("the path is too long"))
	}
	data, err := l.object(ctx, ostree.ObjectDirTree, sum, "/"+dir)
	if err != nil {
		return err
	}
	tree, err := object.DecodeDirTree(data)
	if err != nil {
		return l.broken(sum+".dirtree", "/"+dir, err)
	}
	for _, f := range tree.Files {
		name := dir + f.Name
		paths := l.files[f.Sum]
		if visible && name != sysrootDir {
			paths = append(paths, name)
		}
		l.files[f.Sum] = paths
	}
	for _, d := range tree.Dirs {
		name := dir + d.Name
		if err := l.dirmeta(ctx, d.Meta.String(), "/"+name); err != nil {
			return err
		}
		shown := visible && name != sysrootDir
		if shown {
			l.steps = append(l.steps, step{dir: containerPath(name), meta: l.metas[d.Meta.String()]})
			if name == "var/tmp" {
				l.hasVarTmp = true
			}
		}
		if err := l.dirtree(ctx, d.Tree.String(), name+"/", shown); err != nil {
			return err
		}
	}
	return nil
}

const (
	sysrootDir = "sysroot"
	usrEtc     = "usr/etc"
)

// containerPath is where a container has what a commit has at path: /usr/etc is /etc.
func containerPath(path string) string {
	if path == usrEtc || strings.HasPrefix(path, usrEtc+"/") {
		return strings.TrimPrefix(path, "usr/")
	}
	return path
}

// objectPath is the name of an object's member, for example sysroot/ostree/repo/objects/ab/cd….file.
func objectPath(sum, kind string) string {
	return repoPrefix + "objects/" + sum[:2] + "/" + sum[2:] + "." + kind
}

// Size returns how large the content of a file is, in bytes; a symlink has none.
func (c *Contents) Size(ctx context.Context, f ContentFile) (int64, error) {
	file, err := c.open(ctx, f)
	if err != nil {
		return 0, err
	}
	return file.Info.Size, file.Close()
}

func (c *Contents) open(ctx context.Context, f ContentFile) (*ostree.File, error) {
	file, err := c.repo.LoadFile(ctx, f.Sum.String())
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, c.broken(f.Sum.String()+".file", f.first(), err)
	}
	return file, nil
}

func (f ContentFile) first() string {
	if len(f.Paths) == 0 {
		return ""
	}
	return "/" + f.Paths[0]
}
