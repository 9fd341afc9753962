package testimage_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
)

func TestEncapsulatedBase(t *testing.T) {
	single := testimage.EncapsulatedBase(t, testimage.BaseOptions{Bootable: true})
	assert.Len(t, single.Manifest.Layers, 1)
	assert.Equal(t, "true", single.Config.Config.Labels["ostree.bootable"])
	assert.Equal(t, single.Commit, single.Config.Config.Labels["ostree.commit"])

	chunked := testimage.EncapsulatedBase(t, testimage.BaseOptions{Bootable: true, Components: []testimage.Component{
		{Name: "kernel", Prefix: "usr/lib/modules"}, {Name: "bin", Prefix: "usr/bin"}, {Name: "none", Prefix: "none"},
	}})
	assert.Len(t, chunked.Manifest.Layers, 5) // commit, kernel, bin, rest, one empty
	assert.Equal(t, single.Commit, chunked.Commit)

	// The reference itself takes what we derive from it.
	w := testimage.Image{Base: &chunked.Base, Layers: []testimage.Layer{{Members: []testimage.Member{
		testimage.Dir("usr", 0o755), testimage.File("usr/new", 0o644, "new"),
	}}}}.Write(t, t.TempDir(), "derived")
	repo := t.TempDir()
	testimage.Run(t, "ostree", "--repo="+repo, "init", "--mode=bare-user")
	out := testimage.Run(t, testimage.Judge(t), "container", "image", "pull", "--quiet", repo, "ostree-unverified-image:"+w.Ref)
	assert.Contains(t, out, "Wrote: ostree-unverified-image:"+w.Ref)
}
