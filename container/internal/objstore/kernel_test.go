package objstore_test

import (
	"context"
	"encoding/binary"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

func openStore(t *testing.T, mode ostree.Mode, backend objstore.Backend) (*objstore.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	repo, err := ostree.CreateRepo(t.Context(), dir, mode)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, repo.Close()) })
	store, err := objstore.Open(t.Context(), repo, &objstore.Options{Backend: backend})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, store.Close()) })
	return store, dir
}

// Attributes that the kernel gives back in another form would make objects that fsck calls corrupted: they are refused in a bare
// repository, and what the kernel keeps as it is is taken.
func TestAttributesThatTheKernelRewrites(t *testing.T) {
	ti.NeedRoot(t)
	le := binary.LittleEndian
	capability := func(version, rootID uint32) []byte {
		b := append(le.AppendUint32(nil, version), 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		if version == 3<<24 {
			b = le.AppendUint32(b, rootID)
		}
		return b
	}
	entry := func(tag, perm uint16, id uint32) []byte {
		return le.AppendUint32(le.AppendUint16(le.AppendUint16(nil, tag), perm), id)
	}
	acl := func(entries ...[]byte) []byte {
		b := le.AppendUint32(nil, 2)
		for _, e := range entries {
			b = append(b, e...)
		}
		return b
	}
	const none, owner, user, group, mask, other = ^uint32(0), 1, 2, 4, 0x10, 0x20
	for _, c := range []struct {
		name, xattr string
		value       []byte
		mode        uint32
		ok          bool
	}{
		{"capability of version 2", "security.capability", capability(2<<24, 0), 0o755, true},
		{"capability of version 3", "security.capability", capability(3<<24, 1000), 0o755, true},
		{"capability of version 3 for user 0", "security.capability", capability(3<<24, 0), 0o755, false},
		{"list", "system.posix_acl_access", acl(entry(owner, 6, none), entry(user, 7, 1000), entry(group, 4, none), entry(mask, 7, none), entry(other, 4, none)), 0o674, true},
		{"list that changes the mode", "system.posix_acl_access", acl(entry(owner, 7, none), entry(user, 7, 1000), entry(group, 4, none), entry(mask, 7, none), entry(other, 7, none)), 0o644, false},
		{"list that is the mode", "system.posix_acl_access", acl(entry(owner, 6, none), entry(group, 4, none), entry(other, 4, none)), 0o644, false},
		{"list with useless numbers", "system.posix_acl_access", acl(entry(owner, 6, 5), entry(user, 7, 1000), entry(group, 4, none), entry(mask, 4, none), entry(other, 4, none)), 0o644, false},
		{"empty list", "system.posix_acl_access", acl(), 0o644, false},
	} {
		for name, backend := range map[string]objstore.Backend{"direct": objstore.BackendAuto, "libostree": objstore.BackendLibostree} {
			t.Run(c.name+", "+name, func(t *testing.T) {
				store, dir := openStore(t, ostree.ModeBare, backend)
				meta := &object.Meta{Mode: object.ModeRegular | c.mode, Xattrs: []object.Xattr{{Name: c.xattr, Value: c.value}}}
				sum, err := store.File(t.Context(), object.Checksum{}, meta, "", []byte("content"))
				if !c.ok {
					require.ErrorIs(t, err, objstore.ErrAltered)
				} else {
					require.NoError(t, err)
				}
				require.NoError(t, store.Publish(t.Context(), nil))
				repo, err := ostree.OpenRepo(t.Context(), dir)
				require.NoError(t, err)
				defer repo.Close()
				if c.ok {
					require.NoError(t, repo.FsckObject(t.Context(), ostree.ObjectFile, sum.String()))
				} else {
					files, err := filepath.Glob(dir + "/objects/??/*")
					require.NoError(t, err)
					assert.Empty(t, files)
				}
				left, err := filepath.Glob(dir + "/tmp/probe-*")
				require.NoError(t, err)
				assert.Empty(t, left)
			})
		}
	}
	store, _ := openStore(t, ostree.ModeBare, objstore.BackendAuto)
	link := &object.Meta{Mode: object.ModeSymlink | 0o777, Xattrs: []object.Xattr{{Name: "security.capability", Value: capability(3<<24, 0)}}}
	_, err := store.File(t.Context(), object.Checksum{}, link, "target", nil)
	require.Error(t, err, "a symlink")
}

// zeros never end; from the second read on its context is done.
type zeros struct{ cancel context.CancelFunc }

func (z zeros) Read(p []byte) (int, error) {
	clear(p)
	z.cancel()
	return len(p), nil
}

// A file of any size whose object is there already is compared, not stored: that stops with the context, although its source, a hole in
// a sparse file, would go on for years.
func TestPresentObjectOfAnySizeStopsWithItsContext(t *testing.T) {
	for _, backend := range []objstore.Backend{objstore.BackendAuto, objstore.BackendLibostree} {
		store, _ := openStore(t, ostree.ModeBareUser, backend)
		meta := &object.Meta{Mode: object.ModeRegular | 0o644}
		sum, err := store.File(t.Context(), object.Checksum{}, meta, "", []byte("present"))
		require.NoError(t, err)
		require.NoError(t, store.Publish(t.Context(), nil))
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		_, err = store.Stream(ctx, sum, meta, 1<<60, zeros{cancel})
		require.ErrorIs(t, err, context.Canceled)
		assert.Less(t, time.Since(start), time.Second)
		// One that ends early, or is another, is no match.
		_, err = store.Stream(t.Context(), sum, meta, 1<<20, io.LimitReader(zeros{func() {}}, 1000))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		_, err = store.Stream(t.Context(), sum, meta, 1<<20, zeros{func() {}})
		require.ErrorIs(t, err, objstore.ErrMismatch)
	}
}
