package object_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

const maxFuzz = 4 << 10 // bytes

// What CheckDirTree takes, GLib takes for normal and with the same content, and libostree's fsck takes too.
func FuzzDirTree(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte{0, 0})
	entry := object.FileEntry{Name: "a", Sum: object.Checksum{1}}
	f.Add((&object.DirTree{Files: []object.FileEntry{entry}, Dirs: []object.DirEntry{{Name: "b"}, {Name: "c"}}}).Encode())
	f.Add((&object.DirTree{Files: []object.FileEntry{entry, entry}}).Encode())
	lib := newLibostree(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFuzz {
			return
		}
		v, err := ostree.VariantFromBytes(dirTreeType, data)
		require.NoError(t, err)
		decoded, err := object.DecodeDirTree(data)
		if err != nil {
			return
		}
		require.Len(t, decoded.Files, v.Child(0).Len())
		require.Len(t, decoded.Dirs, v.Child(1).Len())
		for i, e := range decoded.Files {
			require.Equal(t, e.Name, v.Child(0).Child(i).Child(0).String())
		}
		for i, e := range decoded.Dirs {
			require.Equal(t, e.Name, v.Child(1).Child(i).Child(0).String())
		}
		if object.CheckDirTree(data) == nil {
			require.True(t, v.IsNormalForm())
			require.NoError(t, lib.fsck(t, ostree.ObjectDirTree, data))
		} else {
			require.NotEqual(t, decoded.Encode(), data)
		}
	})
}

// What ParseXattrs takes is what GLib reads there; what GLib takes for normal, sorted and complete is taken.
func FuzzXattrs(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("user.a\x00x\x07\x09"))
	f.Add(object.AppendXattrs(nil, []object.Xattr{{Name: "user.a", Value: []byte{0}}, {Name: "user.b"}}))
	f.Add(object.AppendXattrs(nil, []object.Xattr{{Name: "user.a", Value: make([]byte, 300)}}))
	lib := newLibostree(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > maxFuzz {
			return
		}
		v, err := ostree.VariantFromBytes("a(ayay)", data)
		require.NoError(t, err)
		got, err := object.ParseXattrs(data)
		if err != nil {
			require.False(t, v.IsNormalForm() && sound(t, v), "refused: %v", err)
			return
		}
		require.True(t, v.IsNormalForm())
		require.Len(t, got, v.Len())
		for i, x := range got {
			name, err := v.Child(i).Child(0).ByteArray()
			require.NoError(t, err)
			value, err := v.Child(i).Child(1).ByteArray()
			require.NoError(t, err)
			require.Equal(t, x.Name+"\x00", string(name))
			require.True(t, bytes.Equal(x.Value, value))
		}
		meta := dirMeta(0, 0, object.ModeDir|0o755, data)
		require.NoError(t, object.CheckDirMeta(meta))
		require.NoError(t, lib.fsck(t, ostree.ObjectDirMeta, meta))
	})
}

// sound reports whether the attributes have names that are sorted and within the limits.
func sound(t *testing.T, v *ostree.Variant) bool {
	before := ""
	for i := range v.Len() {
		b, err := v.Child(i).Child(0).ByteArray()
		require.NoError(t, err)
		name := string(b)
		if len(name) < 2 || len(name) > 256 || bytes.IndexByte(b, 0) != len(b)-1 || i > 0 && name <= before {
			return false
		}
		before = name
	}
	return true
}
