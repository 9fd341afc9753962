// Package sweep deletes the objects of a repository that no commit reaches, as ostree_repo_prune does with
// OSTREE_REPO_PRUNE_FLAGS_REFS_ONLY and depth 0, several times faster: a directory tree is read once and decoded in place, and what
// is kept is a set of raw checksums instead of one GVariant for each object.
//
// It is for the common repository only. Anything out of the ordinary, and any object that cannot be read, is ErrUnusual: nothing was
// deleted then, and libostree's own prune decides.
package sweep

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirnames"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// ErrUnusual is wrapped by errors about repositories that are libostree's to prune. Nothing was deleted.
var ErrUnusual = errors.New("not a plain repository")

// kinds is a set of types of objects.
type kinds uint8

const (
	file kinds = 1 << iota
	dirTree
	dirMeta
	commit
)

var endings = map[string]kinds{"file": file, "dirtree": dirTree, "dirmeta": dirMeta, "commit": commit}

// Prune deletes every object that the given commits (64 hex digits each) do not reach; their parents do not count. The caller holds
// the repository's exclusive lock and lists the commits under it. The counts are those of libostree: objects in all, objects deleted, and
// the size of these in bytes.
func Prune(ctx context.Context, repo *ostree.Repo, commits []string) (ostree.PruneStats, error) {
	if err := plain(repo, false); err != nil {
		return ostree.PruneStats{}, err
	}
	objects, err := unix.Openat(repo.FD(), "objects", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ostree.PruneStats{}, &os.PathError{Op: "open", Path: repo.Path() + "/objects", Err: err}
	}
	defer unix.Close(objects)
	m := &marker{objects: objects, reached: map[object.Checksum]kinds{}}
	for _, c := range commits {
		if err := m.commit(ctx, repo, c); err != nil {
			return ostree.PruneStats{}, err
		}
	}
	s := &sweeper{repo: repo, objects: objects, reached: m.reached}
	err = s.sweep(ctx)
	return s.stats, err
}

// plain reports what makes a repository one that only libostree should prune; archive mode does not if it is allowed.
func plain(repo *ostree.Repo, archive bool) error {
	if mode := repo.Mode(); mode != ostree.ModeBare && mode != ostree.ModeBareUser && !(archive && mode == ostree.ModeArchive) {
		return fmt.Errorf("%w: mode %s", ErrUnusual, mode)
	}
	config, err := repo.Config()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusual, err)
	}
	for _, key := range []string{"parent", "payload-link-threshold", "tombstone-commits", "locking"} { // without a lock others may be writing
		if config.HasKey("core", key) {
			return fmt.Errorf("%w: config has core.%s", ErrUnusual, key)
		}
	}
	for _, dir := range []string{"deltas", "refs/mirrors"} { // static deltas, refs of collections
		names, err := dirnames.List(repo.FD(), dir)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%w: %s: %w", ErrUnusual, dir, err)
		}
		if len(names) > 0 {
			return fmt.Errorf("%w: it has %s", ErrUnusual, dir)
		}
	}
	return nil
}

// marker finds out what is reached.
type marker struct {
	objects int
	reached map[object.Checksum]kinds
	among   map[object.Checksum]kinds // nil: all; else of files and dirmetas only these are noted
	buf     []byte
}

// add notes an object and reports whether it is new.
func (m *marker) add(sum object.Checksum, kind kinds) bool {
	if m.among != nil && kind&(file|dirMeta) != 0 && m.among[sum]&kind == 0 {
		return false
	}
	have := m.reached[sum]
	m.reached[sum] = have | kind
	return have&kind == 0
}

func (m *marker) commit(ctx context.Context, repo *ostree.Repo, checksum string) error {
	unusual := func(err error) error { return fmt.Errorf("%w: commit %s: %w", ErrUnusual, checksum, err) }
	sum, err := object.ParseChecksum(checksum)
	if err != nil {
		return unusual(err)
	}
	if !m.add(sum, commit) {
		return nil
	}
	c, state, err := repo.LoadCommit(ctx, checksum)
	if err != nil {
		return unusual(err)
	}
	if state != ostree.CommitNormal { // parts may be missing, rightly
		return unusual(errors.New("it is partial"))
	}
	tree, err := object.ParseChecksum(c.RootTree)
	if err != nil {
		return unusual(err)
	}
	meta, err := object.ParseChecksum(c.RootMeta)
	if err != nil {
		return unusual(err)
	}
	m.add(meta, dirMeta)
	if err := m.trees(ctx, tree); err != nil {
		return unusual(err)
	}
	return nil
}

// trees notes what a directory tree and those below it name. Each is read once, so a tree that contains itself would end too.
func (m *marker) trees(ctx context.Context, root object.Checksum) error {
	todo := []object.Checksum{root}
	for len(todo) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		sum := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !m.add(sum, dirTree) {
			continue
		}
		data, err := m.read(sum)
		if err != nil {
			return err
		}
		t, err := object.DecodeDirTree(data)
		if err != nil {
			return fmt.Errorf("object %s.dirtree: %w", sum, err)
		}
		for _, f := range t.Files {
			m.add(f.Sum, file)
		}
		for _, d := range t.Dirs {
			m.add(d.Meta, dirMeta)
			todo = append(todo, d.Tree)
		}
	}
	return nil
}

// maxTree is the largest dirtree that is read, in bytes: libostree's limit for metadata objects.
const maxTree = 128 << 20

// read returns a dirtree, valid until the next call.
func (m *marker) read(sum object.Checksum) ([]byte, error) {
	hex := sum.String()
	name := hex[:2] + "/" + hex[2:] + ".dirtree"
	fd, err := unix.Openat(m.objects, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "objects/" + name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &os.PathError{Op: "stat", Path: "objects/" + name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxTree {
		return nil, fmt.Errorf("object %s is not a file of at most %d bytes", name, maxTree)
	}
	if int64(cap(m.buf)) < st.Size {
		m.buf = make([]byte, st.Size+st.Size/2)
	}
	data := m.buf[:st.Size]
	for n := 0; n < len(data); {
		k, err := unix.Read(fd, data[n:])
		if err == nil && k == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return nil, &os.PathError{Op: "read", Path: "objects/" + name, Err: err}
		}
		n += max(k, 0)
	}
	return data, nil
}

// sweeper deletes what was not reached.
type sweeper struct {
	repo    *ostree.Repo
	objects int
	reached map[object.Checksum]kinds
	stats   ostree.PruneStats
}

// unreached is an object to delete.
type unreached struct {
	name string // below objects/
	size int64
}

// sweep deletes commits first and what they needed then, so that whoever is interrupted leaves no commit without its objects.
func (s *sweeper) sweep(ctx context.Context) error {
	var rest []unreached
	for xx := range 256 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		found, err := s.directory(fmt.Sprintf("%02x", xx))
		if err != nil {
			return err
		}
		rest = append(rest, found...)
	}
	for n, o := range rest {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.remove(o); err != nil {
			return err
		}
	}
	return nil
}

// find returns an object by its name below objects/.
func (s *sweeper) find(name string) (unreached, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(s.objects, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return unreached{}, &os.PathError{Op: "stat", Path: "objects/" + name, Err: err}
	}
	return unreached{name: name, size: st.Size}, nil
}

// directory counts the objects in objects/XX, deletes its commits that were not reached and returns what else was not.
func (s *sweeper) directory(xx string) ([]unreached, error) {
	names, err := dirnames.List(s.objects, xx)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var rest []unreached
	for _, name := range names {
		stem, ending, _ := strings.Cut(name, ".")
		kind := endings[ending]
		if kind == 0 {
			continue // detached metadata goes with its commit; the rest is not ours
		}
		sum, err := object.ParseChecksum(xx + stem)
		if err != nil {
			continue
		}
		s.stats.Total++
		if s.reached[sum]&kind != 0 {
			continue
		}
		o, err := s.find(xx + "/" + name)
		if err != nil {
			return nil, err
		}
		if kind != commit {
			rest = append(rest, o)
			continue
		}
		if err := s.removeCommit(o, sum); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// removeCommit deletes a commit, its detached metadata and the mark that it is partial.
func (s *sweeper) removeCommit(o unreached, sum object.Checksum) error {
	if err := s.remove(o); err != nil {
		return err
	}
	for dir, name := range map[int]string{s.objects: o.name + "meta", s.repo.FD(): "state/" + sum.String() + ".commitpartial"} {
		if err := unix.Unlinkat(dir, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return &os.PathError{Op: "unlink", Path: name, Err: err}
		}
	}
	return nil
}

func (s *sweeper) remove(o unreached) error {
	if err := unix.Unlinkat(s.objects, o.name, 0); err != nil {
		return &os.PathError{Op: "unlink", Path: "objects/" + o.name, Err: err}
	}
	s.stats.Pruned++
	s.stats.Size += uint64(o.size)
	return nil
}
