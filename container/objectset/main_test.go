package objectset_test

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/container/objectset"
	"github.com/ostree-container/ostree-container/ostree"
)

// objectPath is the name of an object's member.
func objectPath(sum object.Checksum, kind string) string {
	name := sum.String()
	return "sysroot/ostree/repo/objects/" + name[:2] + "/" + name[2:] + "." + kind
}

// meta is the member of a metadata object.
func meta(kind string, data []byte) ti.Member {
	return ti.File(objectPath(object.Sum(data), kind), 0o644, string(data))
}

// file is a content object as it is said to be: its attributes, whatever they are, and the file.
func file(xattrs []object.Xattr, content string) []ti.Member {
	m := &object.Meta{Mode: object.ModeRegular | 0o644, Xattrs: xattrs}
	sum := object.FileChecksum(m, "", []byte(content))
	return []ti.Member{
		ti.File(objectPath(sum, "file-xattrs-link"), 0o644, string(object.AppendXattrs(nil, xattrs))),
		ti.File(objectPath(sum, "file"), 0o644, content),
	}
}

// tree is a directory tree and its checksum.
func tree(t object.DirTree) (ti.Member, object.Checksum) {
	data := t.Encode()
	return meta("dirtree", data), object.Sum(data)
}

func commit(t testing.TB, c object.Commit) ti.Member {
	t.Helper()
	data, err := c.Encode()
	require.NoError(t, err)
	return meta("commit", data)
}

// target is a repository to import into.
type target struct {
	dir   string
	store *objstore.Store
	pool  *work.Pool
}

func newTarget(t testing.TB, mode ostree.Mode, backend objstore.Backend) *target {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	repo, err := ostree.CreateRepo(t.Context(), dir, mode)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, repo.Close()) })
	store, err := objstore.Open(t.Context(), repo, &objstore.Options{Backend: backend})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	pool := work.NewPool(2)
	t.Cleanup(pool.Close)
	return &target{dir, store, pool}
}

func (r *target) commit(t testing.TB, members ...ti.Member) (*objectset.CommitLayer, error) {
	t.Helper()
	return objectset.ImportCommit(t.Context(), r.store, r.pool, bytes.NewReader(ti.Tar(members...)), nil)
}

func (r *target) chunk(t testing.TB, members ...ti.Member) (*object.Commit, error) {
	t.Helper()
	return objectset.ImportChunk(t.Context(), r.store, r.pool, bytes.NewReader(ti.Tar(members...)))
}

// sound publishes what was taken and lets the ostree command look at every object.
func (r *target) sound(t testing.TB) {
	t.Helper()
	require.NoError(t, r.store.Publish(t.Context(), nil))
	repo, err := ostree.OpenRepo(t.Context(), r.dir)
	require.NoError(t, err)
	defer repo.Close()
	files, err := filepath.Glob(r.dir + "/objects/??/*")
	require.NoError(t, err)
	for _, f := range files {
		ext := filepath.Ext(f)
		name := filepath.Base(filepath.Dir(f)) + filepath.Base(f[:len(f)-len(ext)])
		_, err := hex.DecodeString(name)
		require.NoError(t, err)
		typ, err := ostree.ParseObjectType(ext[1:])
		require.NoError(t, err)
		assert.NoError(t, repo.FsckObject(t.Context(), typ, name), f)
	}
	ti.Run(t, "ostree", "--repo="+r.dir, "fsck", "--quiet")
}
