package container_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/layer"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// source is an image behind one transport.
type source struct {
	ref     string
	options *registry.Options
	diffIDs bool // layers are named after their diff_ids
}

// transports say how an image comes behind each transport without anybody having looked at its layers. Errors are those of a
// real tool that refuses the image: a containers-storage unpacks what it is given.
func transports() map[string]func(t *testing.T, w *ti.Written, layers []ti.Layer) (source, error) {
	options := func() *registry.Options {
		return &registry.Options{Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous}, Retry: registry.Retry{Attempts: 2, Delay: time.Millisecond}}
	}
	all := map[string]func(t *testing.T, w *ti.Written, layers []ti.Layer) (source, error){
		"oci": func(_ *testing.T, w *ti.Written, _ []ti.Layer) (source, error) {
			return source{ref: w.Ref, options: options()}, nil
		},
		"oci-archive": func(t *testing.T, w *ti.Written, _ []ti.Layer) (source, error) {
			path := filepath.Join(t.TempDir(), "image.tar")
			ti.Run(t, "tar", "-C", w.Dir, "-cf", path, ".")
			return source{ref: "oci-archive:" + path + ":" + w.Tag, options: options()}, nil
		},
		"registry": func(t *testing.T, w *ti.Written, _ []ti.Layer) (source, error) {
			return source{ref: ti.NewRegistry(t, w.Dir).Ref("os", w.Tag), options: options()}, nil
		},
		"dir": func(t *testing.T, w *ti.Written, _ []ti.Layer) (source, error) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "version"), []byte("Directory Transport Version: 1.1\n"), 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), w.RawManifest, 0o600))
			require.NoError(t, os.WriteFile(filepath.Join(dir, w.Manifest.Config.Digest.Encoded()), w.RawConfig, 0o600))
			for _, l := range w.Manifest.Layers {
				data, err := os.ReadFile(w.BlobPath(l.Digest))
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(filepath.Join(dir, l.Digest.Encoded()), data, 0o600))
			}
			return source{ref: "dir:" + dir, options: options()}, nil
		},
		"docker-archive": func(t *testing.T, w *ti.Written, layers []ti.Layer) (source, error) {
			path := filepath.Join(t.TempDir(), "image.tar")
			require.NoError(t, os.WriteFile(path, dockerArchive(t, w, layers), 0o600))
			return source{ref: "docker-archive:" + path, options: options(), diffIDs: true}, nil
		},
		"docker-daemon": func(t *testing.T, w *ti.Written, layers []ti.Layer) (source, error) {
			o := options()
			data := dockerArchive(t, w, layers)
			o.DockerHost = ti.NewFakeDaemon(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(data) })
			return source{ref: "docker-daemon:example/os:v1", options: o, diffIDs: true}, nil
		},
	}
	if registry.StorageSupported {
		all["containers-storage"] = func(t *testing.T, w *ti.Written, _ []ti.Layer) (source, error) {
			store := ti.NewStorage(t, "vfs")
			_, err := ti.Output("skopeo", "--insecure-policy", "copy", "--quiet", w.Ref, store.Ref("localhost/os:v1"))
			return source{ref: store.Ref("localhost/os:v1"), options: options()}, err
		}
	}
	return all
}

// dockerArchive is what "docker save" would print.
func dockerArchive(t testing.TB, w *ti.Written, layers []ti.Layer) []byte {
	t.Helper()
	var out bytes.Buffer
	z := tar.NewWriter(&out)
	add := func(name string, data []byte) {
		require.NoError(t, z.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}))
		_, err := z.Write(data)
		require.NoError(t, err)
	}
	var names []string
	for n, l := range layers {
		names = append(names, fmt.Sprintf("%d/layer.tar", n))
		add(names[n], l.TarBytes())
	}
	add("config.json", w.RawConfig)
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{"example/os:v1"}, "Layers": names}})
	require.NoError(t, err)
	add("manifest.json", manifest)
	require.NoError(t, z.Close())
	return out.Bytes()
}

// The same image through every transport: the same tree; where the manifest is the same also the same refs and commits.
func TestEveryTransport(t *testing.T) {
	layers := []ti.Layer{goodLayer("a"), {Members: []ti.Member{ti.BigFile("usr/big", 0o640, 100_000, 3), ti.File("usr/.wh.a", 0o644, "")}}}
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "v1")
	wantRepo, wantDir := newRepo(t, modeHere())
	want := mustPull(t, wantRepo, w.Ref, container.ImporterOptions{})
	wantRefs := oracle.Refs(t, wantDir)
	for name, open := range transports() {
		t.Run(name, func(t *testing.T) {
			src, err := open(t, w, layers)
			require.NoError(t, err)
			repo, dir := newRepo(t, modeHere())
			var done, total int64
			got := mustPull(t, repo, src.ref, container.ImporterOptions{Registry: src.options, Progress: func(e container.Event) {
				if p, ok := e.(container.LayerProgress); ok && p.Done == p.Total {
					done += p.Done
				} else if plan, ok := e.(container.LayersPlanned); ok {
					total = plan.Bytes
				}
			}})
			assert.Equal(t, total, done, "progress ends at what was announced")
			oracle.Same(t, oracle.List(t, wantDir, want.MergeCommit), oracle.List(t, dir, got.MergeCommit), name)
			oracle.Fsck(t, dir)
			assert.Empty(t, leftovers(t, dir))
			if src.diffIDs {
				for _, id := range w.DiffIDs {
					assert.Contains(t, oracle.Refs(t, dir), blobRef(t, id.String()))
				}
				return
			}
			assert.Equal(t, want.ManifestDigest, got.ManifestDigest)
			assert.Equal(t, want.MergeCommit, got.MergeCommit)
			refs := oracle.Refs(t, dir)
			for _, l := range w.Manifest.Layers {
				ref := blobRef(t, l.Digest.String())
				assert.Equal(t, wantRefs[ref], refs[ref], ref)
			}
			_, present, err := pull(t, repo, src.ref, container.ImporterOptions{Registry: src.options})
			require.NoError(t, err)
			assert.True(t, present)
		})
	}
}

// What is wrong inside a layer is refused whatever brought the layer.
func TestHostileLayersThroughEveryTransport(t *testing.T) {
	f := ti.File
	whole := ti.Tar(ti.Dir("usr", 0o755), ti.BigFile("usr/big", 0o644, 50_000, 1))
	cases := []struct {
		name  string
		layer ti.Layer
		is    error // nil: any
	}{
		{"dotdot", ti.Layer{Members: []ti.Member{f("usr/../../etc/x", 0o644, "")}}, layer.ErrInvalidPath},
		{"not UTF-8", ti.Layer{Members: []ti.Member{f("usr/\xff\xfe", 0o644, "")}}, layer.ErrNotUTF8},
		{"hardlink to nothing", ti.Layer{Members: []ti.Member{ti.Hardlink("usr/b", "usr/missing")}}, layer.ErrLinkTarget},
		{"path through symlink", ti.Layer{Members: []ti.Member{ti.Symlink("usr/s", "share"), f("usr/s/x", 0o644, "")}}, layer.ErrTypeConflict},
		{"directory then file", ti.Layer{Members: []ti.Member{f("usr/d/x", 0o644, ""), f("usr/d", 0o644, "")}}, layer.ErrTypeConflict},
		{"dot whiteout", ti.Layer{Members: []ti.Member{f("usr/.wh..", 0o644, "")}}, nil},
		{"truncated tar", ti.Layer{Tar: whole[:10_000]}, nil},
		{"not a tar", ti.Layer{Tar: bytes.Repeat([]byte("garbage!"), 500)}, nil},
		{"diff_id", ti.Layer{Members: []ti.Member{f("usr/x", 0o644, "x")}, DiffID: digest.FromString("other")}, nil},
	}
	for transport, open := range transports() {
		t.Run(transport, func(t *testing.T) {
			passed := map[string]bool{}
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					layers := []ti.Layer{goodLayer("first"), c.layer, goodLayer("last")}
					w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "bad")
					src, err := open(t, w, layers)
					if err != nil {
						assert.Equal(t, "containers-storage", transport, "%v", err)
						return
					}
					passed[c.name] = true
					repo, dir := newRepo(t, modeHere())
					_, _, err = pull(t, repo, src.ref, container.ImporterOptions{Registry: src.options})
					require.Error(t, err)
					assert.ErrorContains(t, err, src.ref)
					if c.is != nil {
						require.ErrorIs(t, err, c.is)
					}
					var bad *container.LayerError
					require.ErrorAs(t, err, &bad)
					assert.Equal(t, 2, bad.Index)
					nothingVisible(t, dir, bad.Digest)
				})
			}
			if transport != "containers-storage" {
				assert.Len(t, passed, len(cases))
				return
			}
			assert.True(t, passed["not UTF-8"], "a store takes this; it took %v", passed)
		})
	}
}

// Sources that are not there, end too early or answer nonsense.
func TestBrokenSourcesOfEveryTransport(t *testing.T) {
	layers := []ti.Layer{goodLayer("a"), {Members: []ti.Member{ti.BigFile("usr/big", 0o640, 300_000, 3)}}}
	for transport, open := range transports() {
		t.Run(transport, func(t *testing.T) {
			w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "v1")
			src, err := open(t, w, layers)
			require.NoError(t, err)
			src.options.PolicyPath = policyFile(t)
			for name, breakIt := range breaks(t, transport, w, src) {
				t.Run(name, func(t *testing.T) {
					restore := breakIt(t)
					defer restore()
					repo, dir := newRepo(t, modeHere())
					_, _, err := pull(t, repo, src.ref, container.ImporterOptions{Registry: src.options})
					require.Error(t, err)
					assert.ErrorContains(t, err, src.ref)
					nothingVisible(t, dir, w.Manifest.Layers[1].Digest, w.DiffIDs[1])
				})
			}
			repo, _ := newRepo(t, modeHere())
			mustPull(t, repo, src.ref, container.ImporterOptions{Registry: src.options})
		})
	}
}

// breaks are ways to break a source, each with a function that mends it.
func breaks(t *testing.T, transport string, w *ti.Written, src source) map[string]func(t *testing.T) (restore func()) {
	t.Helper()
	file := func(path string, change func([]byte) []byte) func(t *testing.T) func() {
		return func(t *testing.T) func() {
			t.Helper()
			good, err := os.ReadFile(path)
			require.NoError(t, err)
			fi, err := os.Stat(path)
			require.NoError(t, err)
			if changed := change(bytes.Clone(good)); changed == nil {
				require.NoError(t, os.Remove(path))
			} else {
				require.NoError(t, os.WriteFile(path, changed, fi.Mode()))
			}
			return func() { require.NoError(t, os.WriteFile(path, good, fi.Mode())) }
		}
	}
	gone := func([]byte) []byte { return nil }
	half := func(b []byte) []byte { return b[:len(b)/2] }
	empty := func([]byte) []byte { return []byte{} }
	flipped := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	_, path, _ := strings.Cut(src.ref, ":")
	big := w.Manifest.Layers[1].Digest
	all := map[string]func(t *testing.T) func(){}
	damage := func(what, path string) {
		all[what+" missing"], all[what+" truncated"] = file(path, gone), file(path, half)
		all[what+" empty"], all[what+" damaged"] = file(path, empty), file(path, flipped)
	}
	switch transport {
	case "oci", "registry":
		damage("layer", w.BlobPath(big))
		damage("config", w.BlobPath(w.Manifest.Config.Digest))
		damage("manifest", w.BlobPath(w.Digest()))
	case "oci-archive":
		path, _, _ = strings.Cut(path, ":")
		all["missing"], all["truncated"], all["empty"] = file(path, gone), file(path, half), file(path, empty)
	case "docker-archive":
		damage("archive", path)
	case "dir":
		damage("layer", filepath.Join(path, big.Encoded()))
		damage("config", filepath.Join(path, w.Manifest.Config.Digest.Encoded()))
		for what, change := range map[string]func([]byte) []byte{"missing": gone, "truncated": half, "empty": empty} {
			all["manifest "+what] = file(filepath.Join(path, "manifest.json"), change)
		}
	case "docker-daemon":
		all["no daemon"] = func(*testing.T) func() {
			host := src.options.DockerHost
			src.options.DockerHost = host + ".gone"
			return func() { src.options.DockerHost = host }
		}
	case "containers-storage":
		root, _, _ := strings.Cut(strings.TrimPrefix(path, "[vfs@"), "+")
		found, err := filepath.Glob(filepath.Join(root, "vfs/dir/*/usr/big"))
		require.NoError(t, err)
		require.Len(t, found, 1)
		damage("file", found[0])
	}
	return all
}

// A containers-storage says which blob a layer was, but cannot show it: the base of one image under the digest of another's is not
// taken for that when the other image comes.
func TestStoredBaseUnderAnothersDigest(t *testing.T) {
	if !registry.StorageSupported {
		t.Skip("needs the build tag containers_storage")
	}
	good := ti.EncapsulatedBase(t, ti.BaseOptions{})
	other := ti.EncapsulatedBase(t, ti.BaseOptions{Members: append(ti.BaseMembers(), ti.File("usr/bin/hostile", 0o755, "hostile"))})
	store := ti.NewStorage(t, "vfs")
	store.Copy(t, other.Ref, "localhost/os:v1")
	manifests, err := filepath.Glob(filepath.Join(store.Root, "vfs-images/*/manifest"))
	require.NoError(t, err)
	require.Len(t, manifests, 1)
	data, err := os.ReadFile(manifests[0])
	require.NoError(t, err)
	lying := bytes.Replace(data, []byte(other.Manifest.Layers[0].Digest), []byte(good.Manifest.Layers[0].Digest), 1)
	require.NotEqual(t, data, lying)
	require.NoError(t, os.WriteFile(manifests[0], lying, 0o600))

	repo, dir := newRepo(t, ostree.ModeBare)
	ref := store.Ref("localhost/os:v1")
	state := mustPull(t, repo, ref, container.ImporterOptions{})
	assert.Equal(t, other.Commit, state.BaseCommit)
	blob := blobRef(t, good.Manifest.Layers[0].Digest.String())
	assert.Equal(t, other.Commit, oracle.Refs(t, dir)[blob], "as the reference has it")
	state = mustPull(t, repo, good.Ref, container.ImporterOptions{})
	assert.Equal(t, good.Commit, state.BaseCommit)
	assert.Equal(t, good.Commit, oracle.Refs(t, dir)[blob])
	oracle.Fsck(t, dir)

	// The same image from a store and from elsewhere shares its base, without being fetched again.
	store.Copy(t, good.Ref, "localhost/good:v1")
	repo, dir = newRepo(t, ostree.ModeBare)
	mustPull(t, repo, store.Ref("localhost/good:v1"), container.ImporterOptions{})
	require.NoError(t, os.RemoveAll(store.Root+"/vfs/dir"))
	fetched := 0
	mustPull(t, repo, good.Ref, container.ImporterOptions{Progress: func(e container.Event) {
		if plan, ok := e.(container.LayersPlanned); ok {
			fetched = len(plan.Layers)
		}
	}})
	assert.Zero(t, fetched)
	assert.Equal(t, good.Commit, oracle.Refs(t, dir)[blob])
}
