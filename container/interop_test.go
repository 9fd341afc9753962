package container_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/ostree"
)

// The judge is the command line of the crate ostree-ext (testdata/judge). Both
// programs are run with the same arguments; docs/interop.md lists what may differ.

// judgeVersion is the crate's version, which its commits name as importer.
const judgeVersion = "0.15.3"

// program is one of the two command lines.
type program struct{ name, path string }

// programs are the two of them.
type programs struct{ judge, ours program }

// each runs a test once for either program as the first and the other as the
// second.
func (p programs) each(t *testing.T, test func(t *testing.T, first, second program)) {
	t.Run("judge_first", func(t *testing.T) { test(t, p.judge, p.ours) })
	t.Run("ours_first", func(t *testing.T) { test(t, p.ours, p.judge) })
}

// TestInterop compares the command line of this project with the judge. It
// needs root: only a bare repository of root's can hold what the judge writes (B26).
func TestInterop(t *testing.T) {
	ti.NeedRoot(t)
	ti.NeedTool(t, "ostree", "skopeo")
	p := programs{judge: program{"judge", ti.Judge(t)}, ours: program{"ours", buildProgram(t)}}
	for _, test := range []struct {
		name string
		run  func(*testing.T, programs)
	}{
		{"Images", interopImages},
		{"Transports", interopTransports},
		{"Random", interopRandom},
		{"SELinux", interopSELinux},
		{"Relabelled", interopRelabelled},
		{"Differences", interopDifferences},
		{"Modes", interopModes},
		{"OnlyOurs", interopOnlyOurs},
		{"Shared", interopShared},
		{"Alternating", interopAlternating},
		{"CachedUpdate", interopCachedUpdate},
		{"Copy", interopCopy},
		{"Reexport", interopReexport},
		{"GC", interopGC},
		{"Sysroot", interopSysroot},
		{"DeployOptions", interopDeployOptions},
		{"Options", interopOptions},
		{"Manifests", interopManifests},
		{"Commit", interopCommit},
		{"Repair", interopRepair},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, p) })
	}
}

// buildProgram builds the command line under test with the tags of this test.
// The environment variable PROGRAM names one that is built already.
func buildProgram(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("PROGRAM"); path != "" {
		return path
	}
	ti.NeedTool(t, "go")
	tags := "containers_image_openpgp"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-tags" && s.Value != "" {
				tags = s.Value
			}
		}
	}
	path := filepath.Join(t.TempDir(), "ostree-container")
	ti.Run(t, "go", "build", "-buildvcs=false", "-tags", tags, "-o", path, "../cmd/ostree-container")
	return path
}

// try runs "PROGRAM container image ARGS..." and returns both outputs.
func (p program) try(args ...string) (stdout, stderr string, err error) {
	c := exec.Command(p.path, append([]string{"container", "image"}, args...)...)
	c.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "OSTREE_SYSROOT_DEBUG=mutable-deployments", "G_MESSAGES_DEBUG=")
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err = c.Run()
	return out.String(), errOut.String(), err
}

// run is try for what must succeed; it returns the standard output.
func (p program) run(t testing.TB, args ...string) string {
	t.Helper()
	out, errOut, err := p.try(args...)
	require.NoError(t, err, "%s container image %s: %s%s", p.name, strings.Join(args, " "), out, errOut)
	return out
}

// pull pulls an image ("oci:DIR:TAG") and returns the first lines of the
// output and the merge commit of the last one.
func (p program) pull(t testing.TB, repo, ref string) (lines []string, merge string) {
	t.Helper()
	lines = strings.Split(strings.TrimSpace(p.run(t, "pull", "--quiet", repo, unverifiedImage+ref)), "\n")
	last := lines[len(lines)-1]
	said, merge, ok := strings.Cut(last, " => ")
	require.True(t, ok, "%s: %q", p.name, lines)
	return append(lines[:len(lines)-1], said), merge
}

const unverifiedImage = "ostree-unverified-image:"

// bareRepo makes a repository, with the ostree command.
func bareRepo(t testing.TB) string {
	t.Helper()
	repo := filepath.Join(t.TempDir(), "repo")
	ti.Run(t, "ostree", "--repo="+repo, "init", "--mode=bare")
	ti.Run(t, "ostree", "--repo="+repo, "config", "set", "core.fsync", "false")
	return repo
}

// commitInfo is a commit, its metadata as values: strings, JSON documents,
// and counts of filtered content.
type commitInfo struct {
	Tree, Meta    string // checksums
	Parent        string
	Subject, Body string
	Time          int64
	Metadata      map[string]any
}

// snapshot reads all refs and their commits.
func snapshot(t testing.TB, dir string) (refs map[string]string, commits map[string]commitInfo) {
	t.Helper()
	repo, err := ostree.OpenRepo(t.Context(), dir)
	require.NoError(t, err)
	defer func() { assert.NoError(t, repo.Close()) }()
	refs, err = repo.ListRefs(t.Context(), "")
	require.NoError(t, err)
	commits = map[string]commitInfo{}
	for _, sum := range refs {
		if _, ok := commits[sum]; !ok {
			commits[sum] = readCommit(t, repo, sum)
		}
	}
	return refs, commits
}

func readCommit(t testing.TB, repo *ostree.Repo, sum string) commitInfo {
	t.Helper()
	c, state, err := repo.LoadCommit(t.Context(), sum)
	require.NoError(t, err)
	assert.Zero(t, state&ostree.CommitPartial, "commit %s is partial", sum)
	info := commitInfo{Tree: c.RootTree, Meta: c.RootMeta, Parent: c.Parent, Subject: c.Subject, Body: c.Body, Time: c.Timestamp.Unix(), Metadata: map[string]any{}}
	for _, key := range c.Metadata.Keys() {
		v, _ := c.Metadata.Lookup(key)
		info.Metadata[key] = value(t, key, v)
	}
	return info
}

// value is a metadata value in a form in which the order of keys is nothing.
func value(t testing.TB, key string, v *ostree.Variant) any {
	t.Helper()
	switch typ := v.TypeString(); {
	case typ == "s":
		s, err := v.Str()
		require.NoError(t, err)
		if strings.HasPrefix(s, "{") {
			var doc any
			require.NoError(t, json.Unmarshal([]byte(s), &doc), key)
			return doc
		}
		return s
	case typ == "u":
		n, err := v.Uint64()
		require.NoError(t, err)
		return n
	case strings.HasPrefix(typ, "a{s"):
		m := map[string]any{}
		for i := range v.Len() {
			name, err := v.Child(i).Child(0).Str()
			require.NoError(t, err)
			m[name] = value(t, key, v.Child(i).Child(1))
		}
		return m
	default:
		return typ + " " + v.String()
	}
}

func blobRef(t testing.TB, digest string) string {
	t.Helper()
	name, err := imageref.EscapeRef("ostree/container/blob", digest)
	require.NoError(t, err)
	return name
}

func imageRefName(t testing.TB, image string) string {
	t.Helper()
	name, err := imageref.EscapeRef("ostree/container/image", image)
	require.NoError(t, err)
	return name
}

// refsOf are the refs that a repository with just these images has.
func refsOf(t testing.TB, images ...*ti.Written) []string {
	t.Helper()
	var names []string
	for _, w := range images {
		names = append(names, imageRefName(t, w.Ref))
		for _, l := range w.Manifest.Layers {
			if name := blobRef(t, l.Digest.String()); !contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// sameCommit compares two commits, one field at a time so that the message is short.
func sameCommit(t testing.TB, want, got commitInfo, what string) bool {
	t.Helper()
	same := assert.ElementsMatch(t, keys(want.Metadata), keys(got.Metadata), what)
	for key, v := range want.Metadata {
		same = assert.Equal(t, v, got.Metadata[key], "%s, metadata %s", what, key) && same
	}
	want.Metadata, got.Metadata = nil, nil
	return assert.Equal(t, want, got, what) && same
}

func count(layers []ocispec.Descriptor, d digest.Digest) int {
	n := 0
	for _, l := range layers {
		if l.Digest == d {
			n++
		}
	}
	return n
}

func contains(list []string, s string) bool {
	for _, have := range list {
		if have == s {
			return true
		}
	}
	return false
}

func keys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	return names
}

// pulledAlike pulls an image with either program into a repository of its own
// and compares everything that is in them. It returns the repositories.
func (p programs) pulledAlike(t *testing.T, w *ti.Written) (judge, ours string) {
	t.Helper()
	judge, ours = bareRepo(t), bareRepo(t)
	began := time.Now().Unix()
	judgeSaid, judgeMerge := p.judge.pull(t, judge, w.Ref)
	oursSaid, oursMerge := p.ours.pull(t, ours, w.Ref)
	if repeated := len(refsOf(t, w)) <= len(w.Manifest.Layers); repeated { // which the judge fetches again
		judgeSaid, oursSaid = judgeSaid[1:], oursSaid[1:]
	}
	assert.Equal(t, judgeSaid, oursSaid)
	oracle.Fsck(t, judge)
	oracle.Fsck(t, ours)
	judgeRefs, judgeCommits := snapshot(t, judge)
	oursRefs, oursCommits := snapshot(t, ours)
	assert.ElementsMatch(t, refsOf(t, w), keys(judgeRefs))
	require.ElementsMatch(t, keys(judgeRefs), keys(oursRefs))
	name := imageRefName(t, w.Ref)
	assert.Equal(t, judgeMerge, judgeRefs[name])
	assert.Equal(t, oursMerge, oursRefs[name])

	native := nativeLayers(t, w)
	for i, l := range w.Manifest.Layers {
		ref := blobRef(t, l.Digest.String())
		if i < native { // nothing may differ
			assert.Equal(t, judgeRefs[ref], oursRefs[ref], "commit of layer %d", i+1)
			continue
		}
		want, got := judgeCommits[judgeRefs[ref]], oursCommits[oursRefs[ref]]
		assert.GreaterOrEqual(t, want.Time, began, "B42: the judge's layer commits carry the time of day")
		assert.Equal(t, map[string]any{"ostree.importer.version": judgeVersion}, want.Metadata)
		want.Time = 0          // B42
		if want.Parent != "" { // the judge imported it once more, over what it had imported just before
			assert.Greater(t, count(w.Manifest.Layers, l.Digest), 1)
			want.Parent = ""
		}
		want.Metadata = map[string]any{"ostree.importer.version": container.Version, "ostree-container.diff-id": w.Config.RootFS.DiffIDs[i].String()}
		if filtered, ok := judgeCommits[judgeMerge].Metadata["ostree.tar-filtered"].(map[string]any)[l.Digest.String()]; ok {
			want.Metadata["ostree.tar-filtered"] = filtered // so that a later merge knows it
		}
		if by, ok := got.Metadata[labelledBy]; ok { // the judge leaves layers without labels, newer bootc does not
			assert.Equal(t, dirTreeOf(t, judge, judgeMerge, "/usr/etc/selinux"), by)
			want.Metadata[labelledBy] = by
			want.Tree, want.Meta = labelledByOSTree(t, judge, judgeRefs[ref], judgeMerge)
		}
		if !sameCommit(t, want, got, fmt.Sprintf("layer %d", i+1)) {
			oracle.Same(t, oracle.List(t, judge, judgeRefs[ref]), oracle.List(t, ours, oursRefs[ref]), fmt.Sprintf("layer %d", i+1))
			return judge, ours // what follows from it is of no interest
		}
	}
	want := judgeCommits[judgeMerge]
	assert.Equal(t, judgeVersion, want.Metadata["ostree.importer.version"])
	assert.Equal(t, w.Digest().String(), want.Metadata["ostree.manifest-digest"])
	assert.Empty(t, want.Parent)
	want.Parent = oursRefs[blobRef(t, w.Manifest.Layers[0].Digest.String())] // as newer bootc
	want.Metadata["ostree.importer.version"] = container.Version
	if w.Config.Created == nil && w.Manifest.Annotations["org.opencontainers.image.created"] == "" {
		assert.GreaterOrEqual(t, want.Time, began, "B42: without a creation time the judge takes the time of day")
		want.Time = 0
	}
	if !sameCommit(t, want, oursCommits[oursMerge], "merge commit") {
		oracle.Same(t, oracle.List(t, judge, judgeMerge), oracle.List(t, ours, oursMerge), "merged tree")
	}
	return judge, ours
}

// nativeLayers is how many layers of an image are ostree's own.
func nativeLayers(t testing.TB, w *ti.Written) int {
	t.Helper()
	final, ok := w.Config.Config.Labels["ostree.final-diffid"]
	if !ok {
		return 0
	}
	for i, id := range w.Config.RootFS.DiffIDs {
		if id.String() == final {
			return i + 1
		}
	}
	t.Fatalf("no layer has the diff_id %s", final)
	return 0
}
