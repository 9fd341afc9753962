package container_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

var keepBlobs = container.ImporterOptions{KeepBlobs: true}

// foreignLayers hold what a repository cannot: times, an order of members, a device, data behind the archive.
func foreignLayers() []ti.Layer {
	members := []ti.Member{
		ti.Dir("usr", 0o755), ti.File("usr/z", 0o644, "first"), ti.File("usr/a", 0o4755, "second").With("user.x", "y"),
		{Name: "usr/null", Type: '3', Mode: 0o666, Major: 1, Minor: 3}, ti.File("tmp/dropped", 0o644, "not in a commit"),
	}
	members[1].ModTime = time.Unix(1_600_000_000, 0)
	return []ti.Layer{
		{Members: members},
		{Members: []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/big", 0o644, 3<<20, 7), ti.Whiteout("usr/z")}, Compression: ti.Zstd},
		{Members: []ti.Member{ti.Dir("usr", 0o755), ti.File("usr/plain", 0o600, "p")}, Compression: ti.None},
		{Members: members}, // the first again
	}
}

// keptFiles are the files that a repository keeps of images, by name; each has the digest that it is named after.
func keptFiles(t testing.TB, repo string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	dir := filepath.Join(repo, "extensions/ostree-container/kept/blobs/sha256")
	entries, err := os.ReadDir(dir)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".tmp-") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		fi, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), fi.Mode(), path)
		assert.Equal(t, e.Name(), strings.Fields(ti.Run(t, "sha256sum", path))[0])
		found[e.Name()] = fi.Size()
	}
	return found
}

// blobsOf are the names of all blobs of an image.
func blobsOf(w *ti.Written) []string {
	names := map[string]bool{w.Digest().Encoded(): true, w.Manifest.Config.Digest.Encoded(): true}
	for _, l := range w.Manifest.Layers {
		names[l.Digest.Encoded()] = true
	}
	var list []string
	for name := range names {
		list = append(list, name)
	}
	return list
}

func keysOf(m map[string]int64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// A foreign image comes out to the byte, in every mode of repository, to every place that keeps manifests.
func TestReexportOfKeptBlobs(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	w := ti.Image{Layers: foreignLayers(), Annotations: map[string]string{"a": "b"}, RawManifest: func(m []byte) []byte {
		return append(bytes.ReplaceAll(m, []byte(`,"`), []byte(",\n  \"")), '\n') // not as anybody would write it again
	}}.Write(t, t.TempDir(), "latest")
	host := ti.DockerRegistry(t, "")
	push := &registry.PushOptions{Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous}}
	for _, mode := range []ostree.Mode{modeHere(), ostree.ModeBareUser, ostree.ModeArchive} {
		repo, dir := newRepo(t, mode)
		state := mustPull(t, repo, w.Ref, keepBlobs)
		assert.Equal(t, w.Digest(), state.ManifestDigest)
		assert.ElementsMatch(t, blobsOf(w), keysOf(keptFiles(t, dir)))
		out := t.TempDir()
		for _, dest := range []string{"oci:" + out + "/layout:x", "oci-archive:" + out + "/a:x", "dir:" + out + "/dir", "docker://" + host + "/" + string(mode.String()) + ":x"} {
			assert.Equal(t, w.Digest(), reexport(t, repo, w.Ref, dest, &container.ReexportOptions{PreserveDigests: true, Push: push}), dest)
			raw := ti.Run(t, "skopeo", "inspect", "--tls-verify=false", "--raw", dest)
			assert.Equal(t, string(w.RawManifest), raw, dest)
			// All layers arrive: skopeo reads and compares them.
			ti.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--preserve-digests", dest, "dir:"+t.TempDir())
		}
		again, againDir := newRepo(t, modeHere())
		got := mustPull(t, again, "oci:"+out+"/layout:x", container.ImporterOptions{})
		assert.Equal(t, treeOf(t, dir, state.MergeCommit), treeOf(t, againDir, got.MergeCommit))
		assert.Empty(t, keptFiles(t, againDir), "only on request")

		// Another compression is made, and is no secret.
		_, err := container.Reexport(t.Context(), repo, imageName(t, w.Ref), ociRef(t, out+"/other"), &container.ReexportOptions{
			PreserveDigests: true, Compression: container.CompressionGzip,
		})
		require.ErrorIs(t, err, container.ErrDigestChanged)
		assert.NoDirExists(t, out+"/other")
		_, err = container.Reexport(t.Context(), repo, imageName(t, w.Ref), imageName(t, "docker-archive:"+out+"/d"), &container.ReexportOptions{PreserveDigests: true})
		require.ErrorIs(t, err, container.ErrDigestChanged)
		assert.NotEmpty(t, reexport(t, repo, w.Ref, "docker-archive:"+out+"/d:x", nil))

		// Neither libostree nor its prune minds, nor does it take anything.
		oracle.Fsck(t, dir)
		ti.Run(t, "ostree", "--repo="+dir, "prune", "--refs-only")
		assert.ElementsMatch(t, blobsOf(w), keysOf(keptFiles(t, dir)))
		assert.Equal(t, w.Digest(), reexport(t, repo, w.Ref, "oci:"+out+"/layout2:x", nil))
	}
}

// Images that skopeo made, with docker's manifest, come out as they were where that can be, else as skopeo converts them.
func TestReexportOfKeptDockerImage(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo")
	layers := foreignLayers()
	w := ti.Image{Layers: []ti.Layer{layers[0], {Members: layers[1].Members}}}.Write(t, t.TempDir(), "latest")
	host, out := ti.DockerRegistry(t, ""), t.TempDir()
	copyTo := func(args ...string) {
		ti.Run(t, "skopeo", append([]string{"--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"}, args...)...)
	}
	src := "docker://" + host + "/src:x"
	copyTo("--format", "v2s2", w.Ref, src)
	raw := ti.Run(t, "skopeo", "inspect", "--tls-verify=false", "--raw", src)
	require.Contains(t, raw, "vnd.docker.distribution.manifest.v2+json")
	want := digest.FromString(raw)
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, src, keepBlobs)
	push := &registry.PushOptions{Access: registry.Access{InsecureSkipTLSVerify: true, Auth: registry.AuthAnonymous}}
	for _, dest := range []string{"docker://" + host + "/dest:x", "dir:" + out + "/dir"} {
		assert.Equal(t, want, reexport(t, repo, src, dest, &container.ReexportOptions{PreserveDigests: true, Push: push}))
		assert.Equal(t, raw, ti.Run(t, "skopeo", "inspect", "--tls-verify=false", "--raw", dest))
	}
	copyTo(src, "oci:"+out+"/skopeo:x")
	converted := digest.FromString(ti.Run(t, "skopeo", "inspect", "--raw", "oci:"+out+"/skopeo:x"))
	for _, dest := range []string{"oci:" + out + "/ours:x", "oci-archive:" + out + "/ours.tar:x"} {
		_, err := container.Reexport(t.Context(), repo, imageName(t, src), imageName(t, dest), &container.ReexportOptions{PreserveDigests: true})
		require.ErrorIs(t, err, container.ErrDigestChanged)
		assert.Equal(t, converted, reexport(t, repo, src, dest, nil), dest)
		assert.Equal(t, string(converted), ti.Run(t, "sh", "-c", "skopeo inspect --raw "+dest+" | sha256sum | sed 's/^/sha256:/;s/ .*//' | tr -d '\\n'"))
	}
	// The config of a docker manifest is not that of the stored one, and stays all the same.
	_, err := container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	assert.Len(t, keptFiles(t, dir), 4)
}

// A signed image can be verified again where it was written to.
func TestReexportKeepsSignatures(t *testing.T) {
	t.Parallel()
	ti.NeedTool(t, "skopeo", "gpg")
	home, id, _ := gpgKeyOf(t, "kept", "rsa2048")
	w := ti.Image{Layers: foreignLayers()}.Write(t, t.TempDir(), "latest")
	dir := t.TempDir()
	manifest := filepath.Join(dir, "manifest")
	require.NoError(t, os.WriteFile(manifest, w.RawManifest, 0o600))
	gnupg := func(args ...string) ([]byte, error) {
		cmd := exec.Command("skopeo", args...)
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		return cmd.CombinedOutput()
	}
	out, err := gnupg("standalone-sign", "-o", dir+"/sig", manifest, "example.com/os:latest", id)
	require.NoError(t, err, "%s", out)
	fingerprint := ti.Run(t, "sh", "-c", "gpg --homedir "+home+" --with-colons --list-keys 2>/dev/null | sed -n 's/^fpr:*//;T;s/:.*//p' | head -n1 | tr -d '\\n'")
	repo, _ := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, keepBlobs)
	for _, compression := range []container.Compression{"", container.CompressionGzip} {
		written := filepath.Join(dir, "out"+string(compression))
		reexport(t, repo, w.Ref, "dir:"+written, &container.ReexportOptions{Compression: compression})
		out, err := gnupg("standalone-verify", written+"/manifest.json", "example.com/os:latest", fingerprint, dir+"/sig")
		assert.Equal(t, compression == "", err == nil, "%s", out)
	}
}

// What is missing of the kept blobs is fetched again, and nothing else is: not what another image of the repository has kept.
func TestKeepBlobsOfWhatIsThere(t *testing.T) {
	t.Parallel()
	layers := foreignLayers()
	dir := t.TempDir()
	v1 := ti.Image{Layers: layers[:2]}.Write(t, dir, "v1")
	v2 := ti.Image{Layers: layers[:3]}.Write(t, dir, "v2")
	reg := ti.NewRegistry(t, dir)
	repo, repoDir := newRepo(t, modeHere())
	ref := reg.Ref("os", "v1")
	first := mustPull(t, repo, ref, container.ImporterOptions{})
	assert.Empty(t, keptFiles(t, repoDir))
	_, present, err := pull(t, repo, ref, container.ImporterOptions{})
	require.NoError(t, err)
	assert.True(t, present)
	state := mustPull(t, repo, ref, keepBlobs)
	assert.Equal(t, first.MergeCommit, state.MergeCommit)
	assert.Nil(t, state.CachedUpdate, "an image is no update of itself")
	assert.ElementsMatch(t, blobsOf(v1), keysOf(keptFiles(t, repoDir)))
	_, present, err = pull(t, repo, ref, keepBlobs)
	require.NoError(t, err)
	assert.True(t, present)
	reg.Reset()
	mustPull(t, repo, reg.Ref("os", "v2"), keepBlobs)
	assert.Equal(t, 1, reg.Requests("blob", v2.Manifest.Layers[2].Digest.String()))
	assert.Zero(t, reg.Requests("blob", v2.Manifest.Layers[0].Digest.String()))
	// One that was lost, and a manifest that is damaged.
	kept := filepath.Join(repoDir, "extensions/ostree-container/kept/blobs/sha256")
	require.NoError(t, os.Remove(filepath.Join(kept, v1.Manifest.Layers[1].Digest.Encoded())))
	damage := func() {
		require.NoError(t, os.WriteFile(filepath.Join(kept, v1.Digest().Encoded()), append([]byte(" "), v1.RawManifest[1:]...), 0o600))
	}
	damage()
	mustPull(t, repo, ref, keepBlobs)
	assert.Equal(t, v1.Digest(), reexport(t, repo, ref, "oci:"+t.TempDir()+"/out", &container.ReexportOptions{PreserveDigests: true}))
	damage()
	_, err = container.GCImageLayers(t.Context(), repo, nil)
	require.NoError(t, err)
	mustPull(t, repo, ref, keepBlobs)
	assert.Equal(t, v1.Digest(), reexport(t, repo, ref, "oci:"+t.TempDir()+"/out", &container.ReexportOptions{PreserveDigests: true}))
}

// A prune does not empty somebody's layout that came there.
func TestKeptBlobsAreNobodysLayout(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	w := ti.Image{Layers: foreignLayers()[:1]}.Write(t, path, "v1")
	repo, dir := newRepo(t, modeHere())
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "extensions/ostree-container"), 0o700))
	kept := filepath.Join(dir, "extensions/ostree-container/kept")
	ti.Run(t, "cp", "-a", path, kept)
	_, err := container.GCImageLayers(t.Context(), repo, nil)
	require.ErrorContains(t, err, "it has an index.json")
	_, _, err = pull(t, repo, w.Ref, keepBlobs)
	require.ErrorContains(t, err, "it has an index.json")
	mustPull(t, repo, w.Ref, container.ImporterOptions{}) // warns that it cannot collect
	ti.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "oci:"+kept+":v1", "dir:"+t.TempDir()+"/whole")
}

// Blobs are kept by their SHA-256: another digest is refused before anything is fetched.
func TestKeepBlobsOfOtherDigests(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	w := ti.Image{Layers: foreignLayers()[:1], EditManifest: func(m *ocispec.Manifest) {
		data, err := os.ReadFile(filepath.Join(path, "blobs/sha256", m.Layers[0].Digest.Encoded()))
		require.NoError(t, err)
		m.Layers[0].Digest = digest.SHA512.FromBytes(data)
		require.NoError(t, os.Mkdir(filepath.Join(path, "blobs/sha512"), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(path, "blobs/sha512", m.Layers[0].Digest.Encoded()), data, 0o600))
	}}.Write(t, path, "v1")
	repo, dir := newRepo(t, modeHere())
	opts, planned := keepBlobs, false
	opts.Progress = func(e container.Event) {
		if _, ok := e.(container.LayersPlanned); ok {
			planned = true
		}
	}
	_, _, err := pull(t, repo, w.Ref, opts)
	require.ErrorIs(t, err, ostree.ErrUnsupported)
	require.ErrorContains(t, err, "only sha256 is supported")
	assert.False(t, planned)
	assert.Empty(t, objects(t, dir))
	mustPull(t, repo, w.Ref, container.ImporterOptions{})
}

// The layers are written twice, kept and unpacked: an image that fits once only is refused before anything is fetched.
func TestKeepBlobsNeedSpace(t *testing.T) {
	ti.NeedRoot(t)
	dir := t.TempDir()
	var layers []ti.Layer
	for n := range 3 { // each fits, also twice
		layers = append(layers, ti.Layer{Members: []ti.Member{ti.Dir("usr", 0o755), ti.BigFile("usr/big"+string(rune('0'+n)), 0o644, 8<<20, uint64(n))}})
	}
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	reg := ti.NewRegistry(t, dir)
	repo, repoDir := repoOn(t, smallDisk(t, 48), ostree.ModeBare)
	_, _, err := pull(t, repo, reg.Ref("os", "latest"), keepBlobs)
	require.ErrorIs(t, err, container.ErrNoSpace)
	require.ErrorContains(t, err, "to fetch and keep")
	assert.Zero(t, reg.Requests("blob", w.Manifest.Layers[0].Digest.String()))
	assert.Empty(t, keptFiles(t, repoDir))
	mustPull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{})
}

// An image encapsulated by the reference, with layers of a commit.
func TestKeepBlobsOfABase(t *testing.T) {
	t.Parallel()
	path, _ := chunkedImage(t, ":base")
	base, err := ti.LoadBase(path, "base")
	require.NoError(t, err)
	w := ti.Image{Base: base, Layers: foreignLayers()[:1]}.Write(t, t.TempDir(), "v1")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, keepBlobs)
	assert.ElementsMatch(t, blobsOf(w), keysOf(keptFiles(t, dir)))
	assert.Equal(t, w.Digest(), reexport(t, repo, w.Ref, "oci:"+t.TempDir()+"/out", nil))
	oracle.Fsck(t, dir)
}

// A prune takes what is kept with the layers, and a dry run says the same.
func TestPruneOfKeptBlobs(t *testing.T) {
	s := newSystem(t, "default")
	dir := t.TempDir()
	deployed := osImage("1").Write(t, dir, "deployed")
	s.mustDeploy(deployed.Ref, container.DeployOptions{PullOptions: container.PullOptions{KeepBlobs: true}, NoClean: true})
	repo, err := s.Repo()
	require.NoError(t, err)
	img := osImage("1")
	img.Layers = append(img.Layers, foreignLayers()[1])
	other := img.Write(t, dir, "other")
	mustPull(t, repo, other.Ref, keepBlobs)
	before := keptFiles(t, s.repo)
	assert.Len(t, before, len(blobsOf(deployed))+3, "a layer, config and manifest")
	junk := filepath.Join(s.repo, "extensions/ostree-container/kept/blobs/sha256/.tmp-OF-A-KILLED-ONE")
	require.NoError(t, os.WriteFile(junk, []byte("12345"), 0o600))
	dry, err := container.Prune(t.Context(), s.Sysroot, &container.PruneOptions{DryRun: true})
	require.NoError(t, err)
	assert.Equal(t, before, keptFiles(t, s.repo))
	done, err := container.Prune(t.Context(), s.Sysroot, &container.PruneOptions{Sizes: true})
	require.NoError(t, err)
	assert.Equal(t, dry, done)
	after := keptFiles(t, s.repo)
	assert.ElementsMatch(t, blobsOf(deployed), keysOf(after))
	assert.NoFileExists(t, junk)
	freed := uint64(5)
	for name, size := range before {
		if _, ok := after[name]; !ok {
			freed += uint64(size)
		}
	}
	assert.Equal(t, 4, done.Blobs)
	assert.Equal(t, freed, done.BlobBytes)
	assert.Equal(t, deployed.Digest(), reexport(t, repo, deployed.Ref, "oci:"+t.TempDir()+"/out", nil))
	s.sound()
}

// A copy takes along what is kept, by links or not.
func TestCopyOfKeptBlobs(t *testing.T) {
	t.Parallel()
	w := ti.Image{Layers: foreignLayers()}.Write(t, t.TempDir(), "latest")
	repo, dir := newRepo(t, modeHere())
	mustPull(t, repo, w.Ref, keepBlobs)
	for _, verify := range []bool{false, true} {
		into, intoDir := newRepo(t, modeHere())
		_, err := container.Copy(t.Context(), repo, imageName(t, w.Ref), into, &container.CopyOptions{Verify: verify})
		require.NoError(t, err)
		assert.Equal(t, keptFiles(t, dir), keptFiles(t, intoDir))
		assert.Equal(t, w.Digest(), reexport(t, into, w.Ref, "oci:"+t.TempDir()+"/out", nil))
		name := "extensions/ostree-container/kept/blobs/sha256/" + w.Digest().Encoded()
		a, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		b, err := os.Stat(filepath.Join(intoDir, name))
		require.NoError(t, err)
		assert.Equal(t, !verify, os.SameFile(a, b))
	}
}

// A store has no blobs, and a wrong blob is never kept.
func TestKeepBlobsRefuses(t *testing.T) {
	t.Parallel()
	layers := foreignLayers()[:2]
	layers[1].Mangle = func(b []byte) []byte { return append([]byte{b[0]}, b[:len(b)-1]...) }
	w := ti.Image{Layers: layers}.Write(t, t.TempDir(), "latest")
	repo, dir := newRepo(t, modeHere())
	_, _, err := pull(t, repo, w.Ref, keepBlobs)
	require.Error(t, err)
	assert.NotContains(t, keptFiles(t, dir), w.Manifest.Layers[1].Digest.Encoded())
	assert.NotContains(t, keptFiles(t, dir), w.Digest().Encoded())
	oracle.Fsck(t, dir)

	store := ti.NewStorage(t, "vfs")
	good := ti.Image{Layers: foreignLayers()[:1]}.Write(t, t.TempDir(), "latest")
	store.Copy(t, good.Ref, "localhost/os:x")
	_, _, err = pull(t, repo, store.Ref("localhost/os:x"), keepBlobs)
	require.ErrorIs(t, err, ostree.ErrUnsupported)
}

// Of an encrypted image the encrypted blobs are kept: it comes out as it was, to be read with the key, and with it only.
func TestKeepEncryptedBlobs(t *testing.T) {
	t.Parallel()
	key := ti.NewEncryptionKey(t, "")
	good := ti.Image{Layers: foreignLayers()[:2]}.Write(t, t.TempDir(), "latest")
	encrypted := t.TempDir()
	enc := ti.Encrypt(t, good.Ref, encrypted, "v1", "jwe:"+key.Public)
	ref := "oci:" + encrypted + ":v1"
	raw := ti.Run(t, "skopeo", "inspect", "--raw", ref)
	repo, dir := newRepo(t, modeHere())
	opts := keyed(t, key.Private)
	opts.KeepBlobs = true
	state := mustPull(t, repo, ref, opts)
	plain, plainDir := newRepo(t, modeHere())
	assert.Equal(t, treeOf(t, plainDir, mustPull(t, plain, good.Ref, container.ImporterOptions{}).MergeCommit), treeOf(t, dir, state.MergeCommit))
	for _, l := range enc.Manifest.Layers {
		assert.Contains(t, keptFiles(t, dir), l.Digest.Encoded())
	}
	out := t.TempDir()
	assert.Equal(t, digest.FromString(raw), reexport(t, repo, ref, "oci:"+out+"/out:x", &container.ReexportOptions{PreserveDigests: true}))
	assert.Equal(t, raw, ti.Run(t, "skopeo", "inspect", "--raw", "oci:"+out+"/out:x"))
	ti.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "--decryption-key", key.Private, "oci:"+out+"/out:x", "oci:"+out+"/plain:x")
	again, againDir := newRepo(t, modeHere())
	assert.Equal(t, treeOf(t, dir, state.MergeCommit), treeOf(t, againDir, mustPull(t, again, "oci:"+out+"/plain:x", container.ImporterOptions{}).MergeCommit))
	_, _, err := pull(t, again, "oci:"+out+"/out:x", container.ImporterOptions{KeepBlobs: true})
	require.ErrorIs(t, err, registry.ErrEncrypted)
	// Where layers are looked into they are made from the commits, which are not encrypted.
	assert.NotEmpty(t, reexport(t, repo, ref, "docker-archive:"+out+"/d:x", nil))
	ti.Run(t, "skopeo", "--insecure-policy", "copy", "-q", "docker-archive:"+out+"/d", "dir:"+out+"/dir")
	// What was encrypted does not come out in plain because a blob is damaged.
	layer := filepath.Join(dir, "extensions/ostree-container/kept/blobs/sha256", enc.Manifest.Layers[1].Digest.Encoded())
	require.NoError(t, os.Truncate(layer, 10))
	_, err = container.Reexport(t.Context(), repo, imageName(t, ref), ociRef(t, out+"/damaged"), nil)
	require.ErrorContains(t, err, "is encrypted")
	require.ErrorContains(t, err, "--keep-blobs")
	assert.NoDirExists(t, out+"/damaged")
	assert.NotEmpty(t, reexport(t, repo, ref, "docker-archive:"+out+"/e:x", nil))
}
