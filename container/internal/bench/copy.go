package main

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// copy copies a pulled image into a fresh repository. Both tools copy from the same one, which ours has filled.
func (b *bench) copy(ctx context.Context, n int, kind, tool string) error {
	if !b.wants(stepCopy) || kind != kindBase {
		return nil
	}
	imgref := "ostree-unverified-image:oci:" + b.images[kind]["v1"].dir
	if b.source == "" {
		var err error
		var dir string
		if dir, b.source, err = b.freshRepo(ctx, kind, toolOurs); err != nil {
			return err
		}
		b.copies = append(b.copies, dir)
		if _, err := output(b.pull(ctx, toolOurs, b.source, imgref)); err != nil {
			return err
		}
	}
	dir, repo, err := b.freshRepo(ctx, kind, tool)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.program(tool), "container", "image", "copy", "--src-repo="+b.source, "--dest-repo="+repo, imgref)
	if _, err := b.sample(ctx, n, kind, tool, stepCopy, cmd); err != nil {
		return err
	}
	// All stay until the last is measured: for five minutes ext4 looks for other inodes than those of what was removed, which takes longer.
	b.copies = append(b.copies, dir)
	return b.checkCopy(ctx, kind, tool, repo)
}

func (b *bench) checkCopy(ctx context.Context, kind, tool, repo string) error {
	var refs [2]string
	for i, r := range []string{b.source, repo} {
		out, err := output(exec.CommandContext(ctx, "ostree", "--repo="+r, "refs"))
		if err != nil {
			return err
		}
		names := strings.Fields(string(out))
		slices.Sort(names)
		commits, err := output(exec.CommandContext(ctx, "ostree", append([]string{"--repo=" + r, "rev-parse"}, names...)...))
		if err != nil {
			return err
		}
		refs[i] = strings.Join(names, "\n") + "\n" + string(commits)
	}
	if refs[0] != refs[1] {
		return fmt.Errorf("%s %s: the copy has other refs:\n%s\nthe source has:\n%s", kind, tool, refs[1], refs[0])
	}
	key := kind + " " + tool + " copy"
	if b.fscked[key] {
		return nil
	}
	verdict, err := fsck(ctx, repo)
	if err != nil {
		return err
	}
	b.fscked[key] = true
	b.check("%s: the %d refs of the source; ostree fsck: %s", key, strings.Count(refs[1], "\n")/2, verdict)
	return nil
}

// dropCopies removes what copy copied from and to.
func (b *bench) dropCopies(ctx context.Context) error {
	for _, dir := range b.copies {
		if err := remove(ctx, dir); err != nil {
			return err
		}
	}
	return nil
}
