package ostree_test

import (
	"bytes"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

// Not parallel, like those in leak_test.go: they count what the process holds.

// Values without descriptors, which only the collector frees.
func TestNoLeakOfValues(t *testing.T) {
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "a.conf")
	require.NoError(t, os.WriteFile(file, []byte("title x\noptions quiet\n"), 0o644))
	made := ostree.ObjectName{Checksum: strings.Repeat("ab", 32), Type: ostree.ObjectFile}
	n := 0
	measure(t, cycles, func() {
		b, err := ostree.ReadBootConfig(ctx, file)
		require.NoError(t, err)
		require.NoError(t, b.Clone().Set("title", "y"))
		p := ostree.NewAsyncProgress()
		require.NoError(t, p.SetAll(map[string]*ostree.Variant{"a": ostree.NewUint32Variant(1), "b": ostree.NewBoolVariant(true)}))
		require.NoError(t, p.CopyState(ostree.NewAsyncProgress()))
		p.Finish()
		s, err := ostree.NewSigner("dummy")
		require.NoError(t, err)
		require.NoError(t, s.SetSecretKey(textKey(t, "k")))
		_, err = s.Sign(ctx, []byte("data"))
		require.NoError(t, err)
		set := ostree.NewReachableSet()
		require.NoError(t, set.Add(made))
		_, err = ostree.NewObjectParents().Commits(made)
		require.NoError(t, err)
		ostree.NewDevInoCache()
		require.True(t, ostree.ParseKernelArgs("a=1 b").Contains("a=1"))
		in, err := ostree.ArchiveContent(ctx, ostree.FileInfo{Mode: 0o100644}, nil, strings.NewReader("abc"), 3, n%3)
		require.NoError(t, err)
		if n%2 == 0 { // the others are not read to the end, nor closed
			data, err := io.ReadAll(in)
			require.NoError(t, err)
			f, err := ostree.ParseContent(ctx, bytes.NewReader(data), int64(len(data)), ostree.ContentCompressed, ostree.Verify)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			require.NoError(t, in.Close())
		}
		if n++; n%25 == 0 {
			runtime.GC()
		}
	})
}

// What reads a repository.
func TestNoLeakOfReaders(t *testing.T) {
	ctx := t.Context()
	dir := writeTree(t, sample)
	r := newRepo(t, ostree.ModeBareUser)
	c := judgeCommit(t, r.Path(), "main", dir)
	n := 0
	measure(t, 1000, func() {
		root, _, err := r.ReadTree(ctx, c)
		require.NoError(t, err)
		usr, err := root.Descend(ctx, "usr")
		require.NoError(t, err)
		_, err = usr.Root(ctx)
		require.NoError(t, err)
		_, err = ostree.DiffDirs(ctx, ostree.DiffDir{Tree: usr}, ostree.DiffDir{Path: filepath.Join(dir, "usr")}, nil)
		require.NoError(t, err)
		_, err = ostree.DiffDirs(ctx, ostree.DiffDir{Tree: usr}, ostree.DiffDir{Path: "/none"}, nil)
		require.ErrorIs(t, err, ostree.ErrNotFound)
		f, err := r.FS(ctx, c)
		require.NoError(t, err)
		_, err = fs.ReadFile(f, "usr/bin/a")
		require.NoError(t, err)
		set := ostree.NewReachableSet()
		require.NoError(t, r.TraverseCommitWithParents(ctx, c, 0, ostree.TraverseAll, set, ostree.NewObjectParents()))
		_, err = r.ListRefsBelow(ctx, "ma")
		require.NoError(t, err)
		p, err := ostree.NewSePolicy(ctx, dir)
		require.NoError(t, err)
		require.NoError(t, p.Close())
		require.NoError(t, r.ExportArchive(ctx, io.Discard, root, nil))
		_, err = r.VerifyCommitGPG(ctx, c, nil)
		require.ErrorIs(t, err, ostree.ErrGPGNoSignature)
		if n++; n%50 == 0 {
			runtime.GC()
		}
	})
}

// What writes, and what fails halfway.
func TestNoLeakOfWriters(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, ostree.ModeBareUser)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	whole := sampleTar(t)
	out := t.TempDir()
	n := 0
	measure(t, 500, func() {
		tx, err := r.Begin(ctx)
		require.NoError(t, err)
		m := ostree.NewMutableTree()
		require.NoError(t, r.WriteArchiveToMTree(ctx, bytes.NewReader(whole), m, &ostree.CommitModifier{Filter: toRoot}, nil))
		require.ErrorIs(t, r.WriteArchiveToMTree(ctx, bytes.NewReader(whole[:2000]), ostree.NewMutableTree(), nil, nil), io.ErrUnexpectedEOF)
		w, err := r.WriteRegfile(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, 3)
		require.NoError(t, err)
		if n%2 == 0 {
			_, err = w.Write([]byte("abc"))
			require.NoError(t, err)
			_, err = w.Finish(ctx)
			require.NoError(t, err)
		}
		require.NoError(t, w.Close())
		require.NoError(t, tx.Abort())
		root, _, err := r.ReadTree(ctx, c)
		require.NoError(t, err)
		require.NoError(t, r.CheckoutTree(ctx, root, filepath.Join(out, "x"), &ostree.CheckoutTreeOptions{Mode: ostree.CheckoutUser, Overwrite: ostree.OverwriteUnionFiles}))
		if n++; n%50 == 0 {
			runtime.GC()
		}
	})
}

// Pulls and finders, with their main contexts and threads.
func TestNoLeakOfPulls(t *testing.T) {
	ctx := t.Context()
	src := newRepo(t, ostree.ModeArchive)
	judgeCommit(t, src.Path(), "main", writeTree(t, sample))
	r := newRepo(t, ostree.ModeArchive)
	require.NoError(t, r.RemoteAdd(ctx, "origin", "file://"+src.Path(), unsigned(t)))
	ref := []ostree.CollectionRef{{CollectionID: "org.example.Os", Ref: "main"}}
	measure(t, 200, func() {
		require.NoError(t, r.PullLocal(ctx, src.Path(), []string{"main"}, &ostree.PullOptions{Progress: func(ostree.PullProgress) {}}))
		require.NoError(t, r.PullLocal(ctx, src.Path(), []string{"main"}, &ostree.PullOptions{State: ostree.NewAsyncProgress()}))
		require.NoError(t, r.PullDir(ctx, "origin", "/usr", []string{"main"}, nil))
		require.Error(t, r.PullDir(ctx, "origin", "", []string{"none"}, nil))
		_, err := r.FindRemotes(ctx, ref, &ostree.FindOptions{Finders: []ostree.Finder{ostree.ConfigFinder()}})
		require.NoError(t, err)
	})
}

func TestNoLeakOfUpgraders(t *testing.T) {
	made, v1, _ := newSysroot(t)
	d := deploy(t, made, v1, nil)
	ctx := t.Context()
	require.NoError(t, made.WriteOriginFile(ctx, d, refspecOrigin(t, "main")))
	n := 0
	measure(t, 300, func() {
		s, err := ostree.NewSysroot(made.Path())
		require.NoError(t, err)
		require.NoError(t, s.Load(ctx))
		u, err := ostree.NewSysrootUpgraderForOS(ctx, s, d.Stateroot(), 0)
		require.NoError(t, err)
		_, err = u.Origin()
		require.NoError(t, err)
		first := s.Deployments()[0]
		require.NoError(t, first.Clone().SetBootEntry(first.BootEntry()))
		require.NoError(t, s.Close()) // u goes with the collector, later
		if n++; n%20 == 0 {
			runtime.GC()
		}
	})
}

// The collector runs all the time while the later kinds of value are used.
func TestCollectorStressTypes(t *testing.T) {
	r := newRepo(t, ostree.ModeBareUser)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	whole := sampleTar(t)
	ctx := t.Context()
	end := time.Now().Add(3 * time.Second)
	var wg sync.WaitGroup
	loop := func(fn func()) {
		wg.Go(func() {
			for time.Now().Before(end) && !t.Failed() {
				fn()
			}
		})
	}
	loop(runtime.GC)
	loop(func() { // the tree outlives what it came from
		root, _, err := r.ReadTree(ctx, c)
		if !assert.NoError(t, err) {
			return
		}
		bin, err := root.Descend(ctx, "usr/bin")
		root = nil
		if assert.NoError(t, err) {
			v, err := bin.Contents(ctx)
			bin = nil
			assert.NoError(t, err)
			assert.Equal(t, 2, v.Child(0).Len())
		}
	})
	loop(func() {
		p := ostree.NewAsyncProgress()
		v := ostree.NewUint64Variant(7)
		assert.NoError(t, p.SetAll(map[string]*ostree.Variant{"n": v, "m": ostree.NewInt32Variant(1)}))
		v = nil
		got := p.Variant("n")
		p = nil
		assert.Equal(t, "uint64 7", got.Text())
	})
	loop(func() {
		in, err := ostree.ArchiveContent(ctx, ostree.FileInfo{Mode: 0o100644}, nil, strings.NewReader(strings.Repeat("z", 100<<10)), 100<<10, 1)
		if !assert.NoError(t, err) {
			return
		}
		var data bytes.Buffer
		_, err = io.Copy(&data, in)
		assert.NoError(t, err)
		f, err := ostree.ParseContent(ctx, &data, int64(data.Len()), ostree.ContentCompressed, ostree.Verify)
		if assert.NoError(t, err) {
			n, err := io.Copy(io.Discard, f)
			assert.NoError(t, err)
			assert.Equal(t, int64(100<<10), n)
		}
	})
	loop(func() {
		set, err := r.TraverseCommit(ctx, c, 0)
		if assert.NoError(t, err) {
			names := set.Objects()
			set = nil
			assert.NotZero(t, names[0].Hash())
		}
	})
	loop(func() {
		s, err := ostree.NewSigner("dummy")
		if assert.NoError(t, err) {
			assert.NoError(t, s.SetSecretKey(textKey(t, "key")))
			sig, err := s.Sign(ctx, []byte("data"))
			assert.NoError(t, err)
			assert.NotEmpty(t, sig)
		}
	})
	wg.Go(func() { // one transaction at a time
		for time.Now().Before(end) && !t.Failed() {
			tx, err := r.Begin(ctx)
			if !assert.NoError(t, err) {
				return
			}
			m := ostree.NewMutableTree()
			assert.NoError(t, r.WriteArchiveToMTree(ctx, bytes.NewReader(whole), m, &ostree.CommitModifier{Filter: toRoot}, &ostree.ImportArchiveOptions{
				Translate: func(string, ostree.FileInfo) string { return "" },
			}))
			assert.NoError(t, tx.Abort())
		}
	})
	wg.Wait()
	fsck(t, r)
}
