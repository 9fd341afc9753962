package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"golang.org/x/sync/errgroup"
)

const (
	kindBase       = "base"
	components     = 64 // chunks of the base image, without the commit layer and the reserved one
	ownComponents  = 48 // so many of the biggest packages have a chunk of their own
	filesPerUpdate = 200
)

// usrEtc is where a commit has what a container has in /etc.
func usrEtc(name string) string {
	if name == "etc" || strings.HasPrefix(name, "etc/") {
		return "usr/" + name
	}
	return name
}

// makeBase commits the base and its update and has the judge encapsulate both.
func makeBase(ctx context.Context, cache, judge string, set *packageSet, list []lockedPackage) error {
	dirs := map[string]string{"v1": imageDir(cache, kindBase, "v1"), "v2": imageDir(cache, kindBase, "v2")}
	if exists(dirs["v1"]) && exists(dirs["v2"]) {
		return nil
	}
	logf("committing the base image")
	repo := filepath.Join(cache, "base-repo")
	if err := os.RemoveAll(repo); err != nil {
		return err
	}
	if err := initRepo(ctx, repo); err != nil {
		return err
	}
	var t *treeWriter
	err := ostreeCommit(ctx, repo, "bench/v1", nil, func(w io.Writer) error {
		t = newTreeWriter(w)
		t.rename = usrEtc
		if err := t.root(); err != nil {
			return err
		}
		if err := t.packages(ctx, set, list); err != nil {
			return err
		}
		return t.tw.Close()
	})
	if err != nil {
		return err
	}
	changed := map[string]bool{}
	var updated []lockedPackage
	for _, p := range list {
		for _, name := range updatedPackages {
			if p.Name == name {
				if err := pickFiles(ctx, set, p, filesPerUpdate/len(updatedPackages), changed); err != nil {
					return err
				}
				updated = append(updated, p)
			}
		}
	}
	err = ostreeCommit(ctx, repo, "bench/v2", []string{"--tree=ref=bench/v1"}, func(w io.Writer) error {
		u := newTreeWriter(w)
		u.rename, u.only = usrEtc, true
		u.change = stampOf(changed)
		if err := u.packages(ctx, set, updated); err != nil {
			return err
		}
		return u.tw.Close()
	})
	if err != nil {
		return err
	}
	owner := componentOf(t.sizes)
	var g errgroup.Group
	for version, dir := range dirs {
		g.Go(func() error {
			return encapsulate(ctx, judge, repo, "bench/"+version, dir, t.entries, owner)
		})
	}
	return g.Wait()
}

// ostreeCommit commits what fill writes, as a tar, over trees.
func ostreeCommit(ctx context.Context, repo, branch string, trees []string, fill func(io.Writer) error) error {
	args := []string{"--repo=" + repo, "commit", "--branch=" + branch, "--parent=none", "--bootable", "--no-bindings",
		"--subject=" + branch, "--timestamp=@" + fmt.Sprint(epoch.Unix())}
	args = append(append(args, trees...), "--tree=tar=/proc/self/fd/0", "--tar-autocreate-parents")
	cmd := exec.CommandContext(ctx, "ostree", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	buf := bufio.NewWriterSize(in, 1<<20)
	err = errors.Join(fill(buf), buf.Flush(), in.Close())
	if werr := cmd.Wait(); werr != nil {
		err = errors.Join(fmt.Errorf("ostree commit: %w: %s", werr, tail(stderr.String(), 600)), err)
	}
	return err
}

// pickFiles adds n files of p to changed, spread evenly over the package.
func pickFiles(ctx context.Context, set *packageSet, p lockedPackage, n int, changed map[string]bool) error {
	var names []string
	err := eachEntry(ctx, set, p, func(h *tar.Header, name string, _ io.Reader) error {
		if h.Typeflag == tar.TypeReg && h.Size >= 32 {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(names) < n {
		return fmt.Errorf("package %s has %d files, need %d", p.Name, len(names), n)
	}
	sort.Strings(names)
	for i := range n {
		changed[names[i*len(names)/n]] = true
	}
	return nil
}

// componentOf gives each package its chunk: the biggest have their own, the others share.
func componentOf(sizes map[string]int64) map[string]string {
	names := make([]string, 0, len(sizes))
	for name := range sizes {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool {
		a, b := names[i], names[j]
		if sizes[a] != sizes[b] {
			return sizes[a] > sizes[b]
		}
		return a < b
	})
	out := map[string]string{}
	for i, name := range names {
		out[name] = name
		if i >= ownComponents {
			out[name] = fmt.Sprintf("misc-%02d", i%(components-ownComponents))
		}
	}
	return out
}

// A file or symlink as ostree ls -R -C prints it.
var lsLine = regexp.MustCompile(`^[-l]\d+ +\d+ +\d+ +\d+ +([0-9a-f]{64}) /(.*?)(?: -> .*)?$`)

// encapsulate has the judge make the layout dir out of a commit; entries says which package a path belongs to.
func encapsulate(ctx context.Context, judge, repo, ref, dir string, entries, owner map[string]string) error {
	if exists(dir) {
		return nil
	}
	ls, err := output(exec.CommandContext(ctx, "ostree", "--repo="+repo, "ls", "-R", "-C", ref))
	if err != nil {
		return err
	}
	type contentMeta struct {
		Version int               `json:"version"`
		Created string            `json:"created"`
		Layers  map[string]string `json:"layers"`
		Mapping map[string]string `json:"mapping"`
	}
	meta := contentMeta{Version: 1, Created: epoch.UTC().Format("2006-01-02T15:04:05Z"), Layers: map[string]string{}, Mapping: map[string]string{}}
	for line := range strings.Lines(string(ls)) {
		m := lsLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil || meta.Mapping[m[1]] != "" {
			continue // a directory, or content that an earlier path has
		}
		id := owner[entries[m[2]]]
		if id == "" {
			id = "misc-00"
		}
		meta.Mapping[m[1]], meta.Layers[id] = id, id
	}
	data, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	file := dir + ".contentmeta.json"
	if err := errors.Join(os.MkdirAll(filepath.Dir(dir), 0o755), writeFile(file, data), os.RemoveAll(dir+".tmp")); err != nil {
		return err
	}
	logf("encapsulating %s: %d objects in %d components", ref, len(meta.Mapping), len(meta.Layers))
	cmd := exec.CommandContext(ctx, judge, "container", "encapsulate", "--repo", repo, "--contentmeta", file,
		"--label", "ostree.bootable=true", ref, "oci:"+dir+".tmp")
	if _, err := output(cmd); err != nil {
		return err
	}
	return os.Rename(dir+".tmp", dir)
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
