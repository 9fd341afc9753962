//go:build containers_storage

package registry_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// fileStates describes all files below dir but lock files.
func fileStates(t testing.TB, dir string) map[string]string {
	t.Helper()
	states := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || strings.HasSuffix(path, ".lock") {
			return err
		}
		fi, err := d.Info()
		if err == nil && !fi.IsDir() {
			states[path] = fmt.Sprintf("%v %d %v", fi.Mode(), fi.Size(), fi.ModTime())
		} else if err == nil {
			states[path] = fi.Mode().String()
		}
		return err
	}))
	return states
}

func TestContainersStorage(t *testing.T) {
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) {
			store := testimage.NewStorage(t, driver)
			src := t.TempDir()
			w := sample(testimage.Layer{Members: []testimage.Member{testimage.File("usr/z", 0o600, "z")}, Compression: testimage.Zstd}).Write(t, src, "v1")
			store.Copy(t, w.Ref, "localhost/a:v1")
			id := strings.TrimPrefix(w.Manifest.Config.Digest.String(), "sha256:")
			before := fileStates(t, store.Root)
			for name, ref := range map[string]string{
				"name": "localhost/a:v1", "ID": id, "sha256:ID": "sha256:" + id, "short ID": id[:12], "name and ID": "localhost/a:v1@" + id,
				"digest": "localhost/a@" + w.Digest().String(),
			} {
				t.Run(name, func(t *testing.T) {
					opts := options(t)
					img := openImage(t, store.Ref(ref), opts)
					assert.Equal(t, w.Digest(), img.ManifestDigest)
					assert.Equal(t, string(w.RawManifest), string(img.RawManifest))
					assert.Equal(t, asJSON(t, w.Manifest), asJSON(t, img.Manifest))
					checkImage(t, img, w)
					for n, l := range img.Layers {
						assert.Equal(t, w.Manifest.Layers[n].Digest, l.Descriptor.Digest, "refs are named after the manifest's digest")
						assert.Equal(t, w.DiffIDs[n], l.BlobDigest)
					}
					left, err := os.ReadDir(opts.TempDir)
					require.NoError(t, err)
					assert.Len(t, left, 3, "only what options() made")
				})
			}
			assert.Equal(t, before, fileStates(t, store.Root), "reading changes nothing")

			t.Run("built", func(t *testing.T) {
				dir := t.TempDir()
				require.NoError(t, os.WriteFile(filepath.Join(dir, "hello"), []byte("hello"), 0o600))
				c := store.Buildah(t, "from", "--pull-never", "localhost/a:v1")
				store.Buildah(t, "copy", c, filepath.Join(dir, "hello"), "/usr/hello")
				store.Buildah(t, "commit", "--quiet", c, "localhost/built:v1")
				store.Buildah(t, "rm", c)
				img := openImage(t, store.Ref("localhost/built:v1"), nil)
				require.Len(t, img.Layers, 4)
				for n := range img.Layers {
					_, err := readBlob(t, img, n)
					require.NoError(t, err)
					assert.Equal(t, img.Layers[n].DiffID, img.Layers[n].BlobDigest)
				}
			})
			t.Run("written", func(t *testing.T) {
				digest, err := registry.Push(t.Context(), src, parse(t, store.Ref("localhost/pushed:v1")), pushOptions(t))
				require.NoError(t, err)
				assert.Equal(t, w.Digest(), digest)
				assert.Contains(t, store.Buildah(t, "images"), "localhost/pushed")
				checkImage(t, openImage(t, store.Ref("localhost/pushed:v1"), nil), w)
			})
			t.Run("missing image", func(t *testing.T) {
				for _, ref := range []string{"localhost/missing:v1", "localhost/a:v2", "sha256:" + strings.Repeat("0", 64)} {
					require.ErrorIs(t, openError(t, store.Ref(ref), nil), registry.ErrNotFound, ref)
				}
			})
			t.Run("closed", func(t *testing.T) {
				img, err := registry.Open(t.Context(), unverified(t, store.Ref("localhost/a:v1")), options(t))
				require.NoError(t, err)
				require.NoError(t, img.Close())
				_, err = img.Blob(t.Context(), 0)
				require.ErrorIs(t, err, registry.ErrClosed)
			})
		})
	}
}

// A store that does not exist is not made, nor is part of one.
func TestMissingStorage(t *testing.T) {
	t.Parallel()
	testimage.NeedRoot(t)
	dir := t.TempDir()
	for _, spec := range []string{"[vfs@%s/none+%s/run]", "[overlay@%s/none+%s/run]", "[%s/none+%s/run]", "[vfs@%s/*?[+%s/run]", "[vfs@%s/none+%s/run:vfs.imagestore=/x]"} {
		err := openError(t, "containers-storage:"+fmt.Sprintf(spec, dir, dir)+"localhost/x:v1", nil)
		require.ErrorIs(t, err, registry.ErrNotFound, spec)
		_, err = registry.AcceptsUnseen(t.Context(), unverified(t, "containers-storage:"+fmt.Sprintf(spec, dir, dir)+"localhost/x:v1"), options(t))
		require.ErrorIs(t, err, registry.ErrNotFound, spec) // Prepare asks it first
		assert.ErrorContains(t, err, "no containers-storage in "+dir)
	}
	store := testimage.NewStorage(t, "vfs")
	store.Copy(t, sample().Write(t, t.TempDir(), "v1").Ref, "localhost/a:v1")
	other := *store
	other.Driver = "overlay"
	require.ErrorIs(t, openError(t, other.Ref("localhost/a:v1"), nil), registry.ErrNotFound)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.NoDirExists(t, filepath.Join(store.Root, "overlay"))
	for _, ref := range []string{"[", "[]x", "[vfs@]x", "[vfs@relative]x", store.Spec(), store.Spec() + "UPPER/case", store.Spec() + "x@"} {
		openError(t, "containers-storage:"+ref, nil)
	}
}

// A store whose content is not what its image promises.
func TestDamagedStorage(t *testing.T) {
	t.Parallel()
	rewrite := func(t *testing.T, path string, change func([]byte) []byte) {
		t.Helper()
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		changed := change(bytes.Clone(data))
		require.NotEqual(t, string(data), string(changed))
		require.NoError(t, os.WriteFile(path, changed, 0o600))
	}
	one := func(t *testing.T, store *testimage.Storage, pattern string) string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(store.Root, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, found)
		return found[0]
	}
	for name, damage := range map[string]func(t *testing.T, store *testimage.Storage, w *testimage.Written){
		"content of a file": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			rewrite(t, one(t, store, "vfs/dir/*/usr/big"), func(b []byte) []byte { b[1000] ^= 1; return b })
		},
		"longer file": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			rewrite(t, one(t, store, "vfs/dir/*/usr/big"), func(b []byte) []byte { return append(b, 'x') })
		},
		"truncated file": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			require.NoError(t, os.Truncate(one(t, store, "vfs/dir/*/usr/big"), 10))
		},
		"file removed": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			require.NoError(t, os.Remove(one(t, store, "vfs/dir/*/usr/big")))
		},
		"file replaced by a link out": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			path := one(t, store, "vfs/dir/*/usr/big")
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Symlink("/etc/shadow", path))
		},
		"tree removed": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			require.NoError(t, os.RemoveAll(filepath.Dir(filepath.Dir(one(t, store, "vfs/dir/*/usr/big")))))
		},
		"tar headers removed": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			for _, path := range must(filepath.Glob(filepath.Join(store.Root, "vfs-layers/*.tar-split.gz"))) {
				require.NoError(t, os.Remove(path))
			}
		},
		"tar headers truncated": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			for _, path := range must(filepath.Glob(filepath.Join(store.Root, "vfs-layers/*.tar-split.gz"))) {
				require.NoError(t, os.Truncate(path, 60))
			}
		},
		"another diff_id": func(t *testing.T, store *testimage.Storage, w *testimage.Written) {
			rewrite(t, one(t, store, "vfs-layers/layers.json"), replaceOnce(w.DiffIDs[1].Encoded()+`","diff-size`, strings.Repeat("0", 64)+`","diff-size`))
		},
		"the config": func(t *testing.T, store *testimage.Storage, w *testimage.Written) {
			for _, path := range must(filepath.Glob(filepath.Join(store.Root, "vfs-images/*/=*"))) {
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				if string(data) == string(w.RawConfig) {
					rewrite(t, path, replaceOnce("label", "lable"))
				}
			}
		},
		"a layer less in the manifest": func(t *testing.T, store *testimage.Storage, w *testimage.Written) {
			rewrite(t, one(t, store, "vfs-images/*/manifest"), func([]byte) []byte {
				m := w.Manifest
				m.Layers = m.Layers[:1]
				return []byte(asJSON(t, m))
			})
		},
		"no manifest": func(t *testing.T, store *testimage.Storage, _ *testimage.Written) {
			require.NoError(t, os.Remove(one(t, store, "vfs-images/*/manifest")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := testimage.NewStorage(t, "vfs")
			w := sample().Write(t, t.TempDir(), "v1")
			store.Copy(t, w.Ref, "localhost/a:v1")
			damage(t, store, w)
			img, err := registry.Open(t.Context(), unverified(t, store.Ref("localhost/a:v1")), options(t))
			for n := 0; err == nil && n < len(img.Layers); n++ {
				var data []byte
				if data, err = readBlob(t, img, n); err == nil {
					assert.Equal(t, w.DiffIDs[n], digestOf(data), "what is called good is")
				}
			}
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "root:", "nothing of /etc/shadow")
			t.Log(err)
			if img != nil {
				require.NoError(t, img.Close())
			}
		})
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// While another program holds the store's lock, cancelling does not wait for it.
func TestCancelStorage(t *testing.T) {
	t.Parallel()
	store := testimage.NewStorage(t, "vfs")
	w := sample().Write(t, t.TempDir(), "v1")
	store.Copy(t, w.Ref, "localhost/a:v1")
	img := openImage(t, store.Ref("localhost/a:v1"), nil)
	lock, err := os.OpenFile(filepath.Join(store.Root, "vfs-layers/layers.lock"), os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, unix.FcntlFlock(lock.Fd(), unix.F_OFD_SETLKW, &unix.Flock_t{Type: unix.F_WRLCK}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err = img.Blob(ctx, 0)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(start), time.Second)
	require.NoError(t, lock.Close())
	_, err = readBlob(t, img, 0)
	require.NoError(t, err, "the lock is free again")
}

// A policy can speak about stores.
func TestStoragePolicy(t *testing.T) {
	t.Parallel()
	store := testimage.NewStorage(t, "vfs")
	store.Copy(t, sample().Write(t, t.TempDir(), "v1").Ref, "localhost/a:v1")
	opts := options(t)
	for scope, ok := range map[string]bool{
		store.Spec() + "localhost/a:v1": true, "[vfs@" + store.Root + "]localhost/a": true, "[" + store.Root + "]": true, "": true,
		store.Spec() + "localhost/b:v1": false, "[/elsewhere]": false,
	} {
		scope = strings.Replace(scope, "+"+store.RunRoot, "", 1)
		require.NoError(t, os.WriteFile(opts.PolicyPath, fmt.Appendf(nil,
			`{"default":[{"type":"reject"}],"transports":{"containers-storage":{%q:[{"type":"insecureAcceptAnything"}]}}}`, scope), 0o600))
		ref := unverified(t, store.Ref("localhost/a:v1"))
		ref.SigVerify.Kind = imageref.SignatureContainerPolicy
		img, err := registry.Open(t.Context(), ref, opts)
		if ok {
			require.NoError(t, err, scope)
			require.NoError(t, img.Close())
		} else {
			require.ErrorIs(t, err, registry.ErrPolicyRejected, scope)
		}
	}
}
