package ostree_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/ostree"
)

const cycles = 10000

const mayGrow = 16 << 10 // KiB

// Not parallel: they count what the process holds.

// measure runs one cycles times, and requires no more descriptors and handles than before.
func measure(t *testing.T, n int, one func()) {
	t.Helper()
	for range n / 5 { // caches, and the race detector's shadow, have their size then
		one()
	}
	var fds int
	var handles int64
	settle(func() bool { // what other tests left is collected first
		was := handles
		fds, handles = len(openFDs()), ostree.LiveHandles()
		return was == handles
	})
	grew := 0
	for range 3 { // a leak grows each time, what was not collected yet or is cached does not
		before := rssKiB(t)
		for range n {
			one()
		}
		if grew = rssKiB(t) - before; grew < mayGrow {
			break
		}
	}
	assert.True(t, settle(func() bool { return len(openFDs()) <= fds }), "descriptors: %d, then %d", fds, len(openFDs()))
	assert.True(t, settle(func() bool { return ostree.LiveHandles() <= handles }), "handles: %d, then %d", handles, ostree.LiveHandles())
	if !raceDetector { // whose own memory grows with the locks and threads it has seen
		assert.Less(t, grew, mayGrow, "KiB of memory more")
	}
}

func rssKiB(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	var size, resident int
	_, err = fmt.Sscan(string(b), &size, &resident)
	require.NoError(t, err)
	return resident * os.Getpagesize() / 1024
}

func TestNoLeakOfRepos(t *testing.T) {
	ctx := t.Context()
	made := newRepo(t, ostree.ModeBareUser)
	c := judgeCommit(t, made.Path(), "main", writeTree(t, sample))
	measure(t, cycles, func() {
		r, err := ostree.OpenRepo(ctx, made.Path())
		require.NoError(t, err)
		_, _, err = r.LoadCommit(ctx, c)
		require.NoError(t, err)
		require.NoError(t, r.Close())
	})
}

// Without Close the collector does it, and of failed opens nothing stays.
func TestNoLeakWithoutClose(t *testing.T) {
	made := newRepo(t, ostree.ModeBareUser)
	n := 0
	measure(t, 500, func() {
		_, err := ostree.OpenRepo(t.Context(), made.Path())
		require.NoError(t, err)
		_, err = ostree.OpenRepo(t.Context(), made.Path()+"/none")
		require.ErrorIs(t, err, ostree.ErrNotFound)
		if n++; n%50 == 0 {
			runtime.GC()
		}
	})
}

func TestNoLeakOfSysroots(t *testing.T) {
	made, v1, _ := newSysroot(t)
	deploy(t, made, v1, []string{"a"})
	ctx := t.Context()
	measure(t, cycles/10, func() {
		s, err := ostree.NewSysroot(made.Path())
		require.NoError(t, err)
		require.NoError(t, s.Load(ctx))
		require.NoError(t, s.Lock(ctx))
		for _, d := range s.Deployments() {
			_, err := d.Origin()
			require.NoError(t, err)
			_ = d.KernelArgs().String()
		}
		_, err = s.Repo()
		require.NoError(t, err)
		require.NoError(t, s.Close())
	})
}

func TestNoLeakOfObjects(t *testing.T) {
	ctx := t.Context()
	r := newRepo(t, ostree.ModeArchive)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	big := bytes.Repeat([]byte("x"), 300<<10)
	meta, err := (&ostree.DirMeta{Mode: 0o40755, Xattrs: []ostree.Xattr{{Name: "user.a", Value: []byte("b")}}}).Bytes()
	require.NoError(t, err)
	measure(t, 1000, func() {
		tx, err := r.Begin(ctx)
		require.NoError(t, err)
		sum, err := r.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, []ostree.Xattr{{Name: "user.x", Value: []byte("y")}}, strings.NewReader("abc"), 3)
		require.NoError(t, err)
		_, err = r.WriteMetadata(ctx, ostree.ObjectDirMeta, "", meta)
		require.NoError(t, err)
		_, err = r.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, bytes.NewReader(big[:280<<10]), int64(len(big)))
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		f, err := r.LoadFile(ctx, sum)
		require.NoError(t, err)
		_, err = io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, tx.Abort())
		_, _, err = r.ReadTree(ctx, "main")
		require.NoError(t, err)
		_, err = r.Diff(ctx, "", c, nil)
		require.NoError(t, err)
	})
}

// The collector runs all the time while every kind of value is used; the race
// detector and cgo's pointer checks look on.
func TestCollectorStress(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	r := newRepo(t, ostree.ModeBareUser)
	c := judgeCommit(t, r.Path(), "main", writeTree(t, sample))
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			runtime.GC()
		}
	})
	bg := t.Context()
	loop := func(fn func()) {
		wg.Go(func() {
			for ctx.Err() == nil {
				fn()
			}
		})
	}
	loop(func() { // values outlive what they came from
		commit, _, err := r.LoadCommit(bg, c)
		if assert.NoError(t, err) {
			keys := commit.Metadata
			commit = nil
			_, _, err := keys.LookupString("ostree.ref-binding")
			assert.ErrorIs(t, err, ostree.ErrVariantType)
			assert.Equal(t, []string{"ostree.ref-binding"}, keys.Keys())
		}
	})
	loop(func() {
		d := ostree.NewVariantDict()
		for i := range 20 {
			d.SetString(fmt.Sprint("key", i), strings.Repeat("v", i)).Set("n", ostree.NewUint64Variant(uint64(i)))
		}
		v, err := d.Build()
		if assert.NoError(t, err) {
			n, _ := v.Lookup("n")
			assert.Equal(t, "uint64 19", n.Text())
		}
	})
	loop(func() {
		x := []ostree.Xattr{{Name: "user.a", Value: bytes.Repeat([]byte{1}, 100)}}
		sum, err := r.WriteContent(bg, "", ostree.FileInfo{Mode: 0o100644}, x, strings.NewReader(strings.Repeat("z", 300<<10)), 300<<10)
		if !assert.NoError(t, err) {
			return
		}
		f, err := r.LoadFile(bg, sum)
		if assert.NoError(t, err) {
			n, err := io.Copy(io.Discard, f)
			assert.NoError(t, err)
			assert.Equal(t, int64(300<<10), n)
			assert.NoError(t, f.Close())
		}
	})
	loop(func() {
		m, err := ostree.MutableTreeFromCommit(bg, r, "main")
		if assert.NoError(t, err) {
			_, usr, err := m.Lookup("usr")
			assert.NoError(t, err)
			m = nil
			dirs, err := usr.Subdirs()
			assert.NoError(t, err)
			assert.ElementsMatch(t, []string{"bin", "lib", "empty"}, dirs)
		}
	})
	loop(func() { // a handle closed under its users' feet
		q, err := ostree.OpenRepo(bg, r.Path())
		if !assert.NoError(t, err) {
			return
		}
		var users sync.WaitGroup
		for range 3 {
			users.Go(func() {
				for {
					if _, err := q.ResolveRev(bg, "main"); err != nil {
						assert.ErrorIs(t, err, ostree.ErrClosed)
						return
					}
				}
			})
		}
		assert.NoError(t, q.Close())
		users.Wait()
	})
	loop(func() { // cancelled while inside
		short, cancel := context.WithCancel(bg)
		go cancel()
		if _, err := r.ListRefs(short, ""); err != nil {
			assert.ErrorIs(t, err, context.Canceled)
		}
		cancel()
	})
	wg.Wait()
	fsck(t, r)
}
