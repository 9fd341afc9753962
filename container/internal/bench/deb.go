package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path"
	"strings"
	"time"
)

// The root of an OSTree system: what is not under /usr, /etc and /boot is a link or an empty directory.
var rootLinks = [][2]string{
	{"bin", "usr/bin"}, {"home", "var/home"}, {"lib", "usr/lib"}, {"lib64", "usr/lib64"}, {"media", "run/media"},
	{"mnt", "var/mnt"}, {"opt", "var/opt"}, {"ostree", "sysroot/ostree"}, {"root", "var/roothome"},
	{"sbin", "usr/sbin"}, {"srv", "var/srv"},
}

var rootDirs = []string{"boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"}

var epoch = time.Unix(1735689600, 0) // 2025-01-01

// place maps a path of a package, relative and clean, to its place in an image; "" means left out.
// etc stays at the top, where a container image has it.
func place(p string) string {
	first, rest, deep := strings.Cut(p, "/")
	switch first {
	case "usr", "etc":
		return p
	case "bin", "sbin", "lib", "lib32", "lib64", "libx32":
		if deep {
			return "usr/" + p
		}
	case "boot":
		if kind, kver, ok := strings.Cut(rest, "-"); ok {
			return "usr/lib/modules/" + kver + "/" + kind
		}
	}
	return ""
}

// treeWriter writes one layer tar: every path once, after its parent directories.
type treeWriter struct {
	tw      *tar.Writer
	seen    map[string]bool
	rename  func(string) string      // nil = as it is
	change  func(name string) string // content of these files is stamped with the result; "" = as it is
	only    bool                     // write changed files only
	entries map[string]string        // written files and symlinks -> package
	sizes   map[string]int64         // bytes per package
	files   int
	bytes   int64
}

func newTreeWriter(w io.Writer) *treeWriter {
	return &treeWriter{tw: tar.NewWriter(w), seen: map[string]bool{".": true, "": true},
		entries: map[string]string{}, sizes: map[string]int64{}}
}

// header writes h unless its path has been written; false says so.
func (t *treeWriter) header(h *tar.Header) (bool, error) {
	name := path.Clean(h.Name)
	if t.seen[name] {
		return false, nil
	}
	if err := t.parents(name); err != nil {
		return false, err
	}
	t.seen[name] = true
	h.Name = name
	if h.Typeflag == tar.TypeDir {
		h.Name += "/"
	}
	h.Format = tar.FormatGNU
	h.AccessTime, h.ChangeTime, h.Uname, h.Gname = time.Time{}, time.Time{}, "", ""
	return true, t.tw.WriteHeader(h)
}

func (t *treeWriter) parents(name string) error {
	dir := path.Dir(name)
	if t.seen[dir] {
		return nil
	}
	_, err := t.header(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch})
	return err
}

// root writes the root itself and the toplevel directories and links.
func (t *treeWriter) root() error {
	h := &tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o755, ModTime: epoch, Format: tar.FormatGNU}
	if err := t.tw.WriteHeader(h); err != nil {
		return err
	}
	for _, d := range rootDirs {
		if _, err := t.header(&tar.Header{Typeflag: tar.TypeDir, Name: d, Mode: 0o755, ModTime: epoch}); err != nil {
			return err
		}
	}
	for _, l := range rootLinks {
		h := &tar.Header{Typeflag: tar.TypeSymlink, Name: l[0], Linkname: l[1], Mode: 0o777, ModTime: epoch}
		if _, err := t.header(h); err != nil {
			return err
		}
		t.entries[l[0]] = "base-files"
	}
	return nil
}

// file writes one small file.
func (t *treeWriter) file(name string, data []byte) error {
	ok, err := t.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: epoch})
	if err != nil || !ok {
		return err
	}
	t.files, t.bytes = t.files+1, t.bytes+int64(len(data))
	_, err = t.tw.Write(data)
	return err
}

// repeated writes one file that is n times piece.
func (t *treeWriter) repeated(name string, piece []byte, n int) error {
	size := int64(len(piece)) * int64(n)
	ok, err := t.header(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: epoch})
	if err != nil || !ok {
		return err
	}
	t.files, t.bytes = t.files+1, t.bytes+size
	for range n {
		if _, err := t.tw.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// packages writes the content of packages, in order.
func (t *treeWriter) packages(ctx context.Context, set *packageSet, list []lockedPackage) error {
	for _, p := range list {
		if err := t.deb(ctx, set, p); err != nil {
			return fmt.Errorf("package %s: %w", p.Name, err)
		}
	}
	return nil
}

func (t *treeWriter) deb(ctx context.Context, set *packageSet, p lockedPackage) error {
	return eachEntry(ctx, set, p, func(h *tar.Header, name string, content io.Reader) error {
		if t.only && (h.Typeflag != tar.TypeReg || t.change(name) == "") {
			return nil
		}
		if h.Typeflag == tar.TypeLink {
			if h.Linkname = place(path.Clean(h.Linkname)); h.Linkname == "" {
				return nil
			}
		}
		h.Name = name
		return t.entry(h, content, p.Name)
	})
}

// entry writes one entry, renamed and stamped, unless its path has been written.
func (t *treeWriter) entry(h *tar.Header, content io.Reader, pkg string) error {
	stamp := ""
	if t.change != nil && h.Typeflag == tar.TypeReg {
		stamp = t.change(h.Name)
	}
	if t.rename != nil {
		h.Name = t.rename(h.Name)
		if h.Typeflag == tar.TypeLink {
			h.Linkname = t.rename(h.Linkname)
		}
	}
	ok, err := t.header(h)
	if err != nil || !ok {
		return err
	}
	if h.Typeflag != tar.TypeDir {
		t.entries[h.Name] = pkg
		t.files++
	}
	if h.Typeflag == tar.TypeReg {
		t.sizes[pkg] += h.Size
		t.bytes += h.Size
		if stamp != "" {
			// The size stays, so that whoever packs by size packs the same way again.
			first := make([]byte, min(int64(len(stamp)), h.Size))
			if _, err := io.ReadFull(content, first); err != nil {
				return err
			}
			copy(first, stamp)
			content = io.MultiReader(bytes.NewReader(first), content)
		}
		_, err = io.Copy(t.tw, content)
	}
	return err
}

// eachEntry calls fn for the entries of a package that have a place in an image; name is that place.
func eachEntry(ctx context.Context, set *packageSet, p lockedPackage, fn func(h *tar.Header, name string, content io.Reader) error) error {
	deb, err := set.path(p)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = func() error {
		tr := tar.NewReader(pipe)
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				_, err = io.Copy(io.Discard, pipe)
				return err
			}
			if err != nil {
				return err
			}
			if name := place(path.Clean(h.Name)); name != "" {
				if err := fn(h, name, tr); err != nil {
					return err
				}
			}
		}
	}()
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return err
	}
	return cmd.Wait()
}
