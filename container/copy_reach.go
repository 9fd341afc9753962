package container

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/ostree"
)

// reach finds the objects that commits need. Their dirtrees and dirmetas are read by several goroutines at once, each one once, and
// verified.
type reach struct {
	c     *copier
	files []filesByPrefix // of each goroutine, with repetitions

	mu    sync.Mutex
	wake  sync.Cond
	seen  map[objstore.Object]struct{} // dirtrees and dirmetas
	metas [256][]objstore.Object       // the same by the first byte of their checksums
	todo  []metaToRead
	busy  int // goroutines at work, which may find more to do
	stop  bool
}

// filesByPrefix holds checksums by their first byte, in blocks: lists that grow would be copied, and leave as much behind.
type filesByPrefix [256][][]object.Checksum

const checksumBlock = 32

func (f *filesByPrefix) add(sum object.Checksum) {
	blocks := f[sum[0]]
	if n := len(blocks); n == 0 || len(blocks[n-1]) == checksumBlock {
		blocks = append(blocks, make([]object.Checksum, 0, checksumBlock))
		f[sum[0]] = blocks
	}
	last := &blocks[len(blocks)-1]
	*last = append(*last, sum)
}

type metaToRead struct {
	objstore.Object
	commit, path string // where it was met
}

// reachable finds what commits need, except for themselves.
func (c *copier) reachable(ctx context.Context, commits []string) (*reach, error) {
	r := &reach{c: c, seen: map[objstore.Object]struct{}{}, files: make([]filesByPrefix, runtime.GOMAXPROCS(0))}
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
	key := objstore.Object{Sum: sum, Type: typ}
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
	var content object.DirTree
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
		var err error
		buf, err = r.read(ctx, m, buf, &content, files)
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

// read notes the files of a directory and sets content to what it consists of; a dirmeta has nothing. It returns the buffer with its
// object.
func (r *reach) read(ctx context.Context, m metaToRead, buf []byte, content *object.DirTree, files *filesByPrefix) ([]byte, error) {
	*content = object.DirTree{Files: content.Files[:0], Dirs: content.Dirs[:0]}
	if err := ctx.Err(); err != nil {
		return buf, context.Cause(ctx)
	}
	if len(m.path) > maxPath {
		return buf, fmt.Errorf("%w: path of more than %d bytes", ErrLayout, maxPath)
	}
	data, err := r.c.load(ctx, m.Type, m.Sum, buf)
	if err != nil || m.Type == ostree.ObjectDirMeta {
		return data, err
	}
	if err := content.Decode(data); err != nil {
		return data, fmt.Errorf("object %s.dirtree: %w", m.Sum, err)
	}
	for _, f := range content.Files {
		files.add(f.Sum)
	}
	return data, nil
}

// objectLister lists what was found, again and again in the same memory.
type objectLister struct {
	sums    []object.Checksum
	objects []objstore.Object
}

// list returns what was found with a first byte, each object once, until it is called again.
func (l *objectLister) list(r *reach, xx byte) []objstore.Object {
	l.sums = l.sums[:0]
	for i := range r.files {
		for _, block := range r.files[i][xx] {
			l.sums = append(l.sums, block...)
		}
	}
	slices.SortFunc(l.sums, object.Checksum.Compare)
	l.objects = append(l.objects[:0], r.metas[xx]...)
	for _, sum := range slices.Compact(l.sums) {
		l.objects = append(l.objects, objstore.Object{Sum: sum, Type: ostree.ObjectFile})
	}
	return l.objects
}
