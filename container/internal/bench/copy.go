package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
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
		if _, b.source, err = b.freshRepo(ctx, kind, toolOurs); err != nil {
			return err
		}
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
	if err := b.checkCopy(ctx, kind, tool, repo); err != nil {
		return err
	}
	return remove(ctx, dir)
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

// dropSource removes what copy copied from.
func (b *bench) dropSource(ctx context.Context) error {
	if b.source == "" {
		return nil
	}
	return remove(ctx, filepath.Dir(b.source))
}
