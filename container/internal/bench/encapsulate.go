package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// encapsulateRuns is how often stepEncapsulate is measured at most: ostree-ext takes a minute.
const encapsulateRuns = 3

// encapsulate makes an image of the commit that the image of a kind was made of.
func (b *bench) encapsulate(ctx context.Context, n int, kind, tool string) error {
	if !b.wants(stepEncapsulate) || kind != kindBase || n >= encapsulateRuns {
		return nil
	}
	const rev = "bench/v1"
	dir, err := b.fresh(kind, tool)
	if err != nil {
		return err
	}
	repo, out := filepath.Join(b.cache, "base-repo"), filepath.Join(dir, "out")
	if err := readAll(filepath.Join(repo, "objects")); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.program(tool), "container", "encapsulate", "--repo", repo,
		"--contentmeta", imageDir(b.cache, kind, "v1")+".contentmeta.json", "--label", "ostree.bootable=true", rev, "oci:"+out)
	if _, err := b.sample(ctx, n, kind, tool, stepEncapsulate, cmd); err != nil {
		return err
	}
	l, err := openLayout(out)
	if err != nil {
		return err
	}
	last := &b.samples[len(b.samples)-1]
	for _, d := range l.Manifest.Layers {
		last.Bytes += d.Size
	}
	if key := kind + " " + tool + " encapsulate"; !b.fscked[key] {
		if err := b.checkEncapsulated(ctx, tool, repo, rev, l); err != nil {
			return err
		}
		b.fscked[key] = true
	}
	return remove(ctx, dir)
}

// readAll reads all files below a directory, so that the one who needs them first does not wait for the disk.
func readAll(dir string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, f)
		return errors.Join(err, f.Close())
	})
}

// checkEncapsulated has the other tool take the commit out of the image: it verifies all that the image says.
func (b *bench) checkEncapsulated(ctx context.Context, tool, from, rev string, l *layout) error {
	reader := toolJudge
	if tool == toolJudge {
		reader = toolOurs
	}
	want, err := output(exec.CommandContext(ctx, "ostree", "--repo="+from, "rev-parse", rev))
	if err != nil {
		return err
	}
	repo := filepath.Join(filepath.Dir(l.dir), "repo")
	if err := initRepo(ctx, repo); err != nil {
		return err
	}
	commit := strings.TrimSpace(string(want))
	_, err = output(exec.CommandContext(ctx, b.program(reader), "container", "unencapsulate", "--quiet", "--repo", repo,
		"--write-ref", rev, "ostree-unverified-image:oci:"+l.dir))
	if err != nil {
		return err
	}
	got, err := output(exec.CommandContext(ctx, "ostree", "--repo="+repo, "rev-parse", rev))
	if err != nil {
		return err
	}
	if string(got) != string(want) {
		return fmt.Errorf("%s encapsulated commit %s, %s finds %s", tool, commit, reader, got)
	}
	verdict, err := fsck(ctx, repo)
	if err != nil {
		return err
	}
	b.check("encapsulate by %s: %s takes the commit %.12s out of the %d layers; ostree fsck: %s", tool, reader, commit, len(l.Manifest.Layers), verdict)
	return os.RemoveAll(repo)
}
