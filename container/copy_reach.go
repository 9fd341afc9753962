package container

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

type objectKey struct {
	typ ostree.ObjectType
	sum object.Checksum
}

// reach finds the objects that commits need. Their dirtrees and dirmetas are read by several goroutines at once, each one once, and
// verified.
type reach struct {
	c     *copier
	files []filesByPrefix // of each goroutine, with repetitions

	mu    sync.Mutex
	wake  sync.Cond
	seen  map[objectKey]struct{} // dirtrees and dirmetas
	metas [256][]objectKey       // the same by the first byte of their checksums
	todo  []metaToRead
	busy  int // goroutines at work, which may find more to do
	stop  bool
}

type filesByPrefix [256][]object.Checksum

type metaToRead struct {
	objectKey
	commit, path string // where it was met
}

// reachable finds what commits need, except for themselves.
func (c *copier) reachable(ctx context.Context, commits []string) (*reach, error) {
	r := &reach{c: c, seen: map[objectKey]struct{}{}, files: make([]filesByPrefix, runtime.GOMAXPROCS(0))}
	r.wake.L = &r.mu
	for _, checksum := range commits {
		commit, state, err := c.src.LoadCommit(ctx, checksum)
		if err != nil {
			return nil, fmt.Errorf("commit %s: %w", checksum, err)
		}
		if state&ostree.CommitPartial != 0 {
			return nil, fmt.Errorf("%w: commit %s of %s is partial", ErrIncomplete, checksum, c.src.Path())
		}
		root, meta, err := rootOf(commit)
		if err != nil {
			return nil, err
		}
		r.met(ostree.ObjectDirMeta, meta, checksum, "/")
		r.met(ostree.ObjectDirTree, root, checksum, "/")
	}
	g, gctx := errgroup.WithContext(ctx)
	for i := range r.files {
		g.Go(func() error {
			defer r.end()
			return r.work(gctx, &r.files[i])
		})
	}
	return r, g.Wait()
}

// met notes a metadata object.
func (r *reach) met(typ ostree.ObjectType, sum object.Checksum, commit, path string) {
	key := objectKey{typ, sum}
	if _, again := r.seen[key]; again {
		return
	}
	r.seen[key] = struct{}{}
	r.metas[sum[0]] = append(r.metas[sum[0]], key)
	r.todo = append(r.todo, metaToRead{key, commit, path})
}

// end makes all stop: there is nothing left, or one has failed.
func (r *reach) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stop = true
	r.wake.Broadcast()
}

// work reads until there is nothing left.
func (r *reach) work(ctx context.Context, files *filesByPrefix) error {
	var buf []byte
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		for len(r.todo) == 0 && r.busy > 0 && !r.stop {
			r.wake.Wait()
		}
		if r.stop || len(r.todo) == 0 {
			return nil
		}
		m := r.todo[len(r.todo)-1]
		r.todo = r.todo[:len(r.todo)-1]
		r.busy++
		r.mu.Unlock()
		content, data, err := r.read(ctx, m, buf, files)
		buf = data
		r.mu.Lock()
		r.busy--
		if err != nil {
			return fmt.Errorf("commit %s: directory %q: %w", m.commit, m.path, err)
		}
		for _, d := range content.Dirs {
			path := m.path + d.Name + "/"
			r.met(ostree.ObjectDirMeta, d.Meta, m.commit, path)
			r.met(ostree.ObjectDirTree, d.Tree, m.commit, path)
		}
		if len(r.todo) > 1 || r.busy == 0 { // else others would find nothing
			r.wake.Broadcast()
		}
	}
}

// read returns what a directory consists of, and the buffer with its object; a dirmeta has nothing.
func (r *reach) read(ctx context.Context, m metaToRead, buf []byte, files *filesByPrefix) (*object.DirTree, []byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, buf, context.Cause(ctx)
	}
	if len(m.path) > maxPath {
		return nil, buf, fmt.Errorf("%w: path of more than %d bytes", ErrLayout, maxPath)
	}
	data, err := r.c.load(ctx, m.typ, m.sum, buf)
	if err != nil || m.typ == ostree.ObjectDirMeta {
		return &object.DirTree{}, data, err
	}
	content, err := object.DecodeDirTree(data)
	if err != nil {
		return nil, data, fmt.Errorf("object %s.dirtree: %w", m.sum, err)
	}
	for _, f := range content.Files {
		files[f.Sum[0]] = append(files[f.Sum[0]], f.Sum)
	}
	return content, data, nil
}

// objects returns what was found with a first byte, each object once.
func (r *reach) objects(xx byte) []objectKey {
	var sums []object.Checksum
	for i := range r.files {
		sums = append(sums, r.files[i][xx]...)
	}
	slices.SortFunc(sums, object.Checksum.Compare)
	found := r.metas[xx]
	for _, sum := range slices.Compact(sums) {
		found = append(found, objectKey{ostree.ObjectFile, sum})
	}
	return found
}
