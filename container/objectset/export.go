package objectset

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/ostree"
)

// repoConfig makes the members below /sysroot/ostree/repo a repository.
const repoConfig = "[core]\nrepo_version=1\nmode=bare-split-xattrs\n"

// WriteCommitLayer writes the first layer of an image: commit, detached metadata, directories with their objects, and the given files.
// The bytes depend on the commit and the files alone.
func (c *Contents) WriteCommitLayer(ctx context.Context, w io.Writer, files []ContentFile) error {
	e := &exporter{Contents: c, tw: tar.NewWriter(w)}
	first := c.steps[0]
	if err := e.directory(first.dir, first.meta); err != nil {
		return err
	}
	if err := e.repository(); err != nil {
		return err
	}
	if err := e.data(objectPath(c.Commit.Checksum, "commit"), c.data); err != nil {
		return err
	}
	if c.detached != nil {
		if err := e.data(objectPath(c.Commit.Checksum, "commitmeta"), c.detached); err != nil {
			return err
		}
	}
	for _, s := range c.steps[1:] {
		var err error
		if s.dir != "" {
			err = e.directory(s.dir, s.meta)
		} else {
			err = e.data(s.name, s.data)
		}
		if err != nil {
			return err
		}
	}
	if !c.hasVarTmp { // containers expect it, and no systemd makes it there
		if err := e.directory("var/tmp", &object.Meta{Mode: object.ModeDir | 0o1777}); err != nil {
			return err
		}
	}
	return e.files(ctx, files)
}

// WriteChunk writes a further layer, which holds files only. Where several have none, n has to tell them apart; it is 0 for the last layer.
// An image names its last ostree layer by diff_id, and readers take the first that has it.
func (c *Contents) WriteChunk(ctx context.Context, w io.Writer, files []ContentFile, n int) error {
	e := &exporter{Contents: c, tw: tar.NewWriter(w)}
	if err := e.repository(); err != nil {
		return err
	}
	if len(files) == 0 && n > 0 {
		m := object.RootDirMeta()
		if err := e.directory(fmt.Sprintf("%stmp/cache/empty-chunk-%d", repoPrefix, n), &m); err != nil {
			return err
		}
	}
	return e.files(ctx, files)
}

type exporter struct {
	*Contents
	tw     *tar.Writer
	header []byte // buffer for file headers
}

func (e *exporter) directory(name string, m *object.Meta) error {
	return e.write(&tar.Header{Typeflag: tar.TypeDir, Name: name}, m)
}

// write adds a member with the owner, mode and extended attributes of m. SELinux labels are left out: a container has its own.
func (e *exporter) write(h *tar.Header, m *object.Meta) error {
	h.Uid, h.Gid, h.Mode, h.Format = int(m.UID), int(m.GID), int64(m.Mode&^object.ModeType), tar.FormatGNU
	for _, x := range m.Xattrs {
		if x.Name == object.LabelXattr || strings.Contains(x.Name, "=") {
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords, h.Format = map[string]string{}, tar.FormatPAX
		}
		h.PAXRecords["SCHILY.xattr."+x.Name] = string(x.Value)
	}
	return e.tw.WriteHeader(h)
}

var defaultFile = &object.Meta{Mode: object.ModeRegular | 0o644}

func (e *exporter) data(name string, data []byte) error {
	if err := e.write(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data))}, defaultFile); err != nil {
		return err
	}
	_, err := e.tw.Write(data)
	return err
}

// repository writes the directories of an empty repository, and its config.
func (e *exporter) repository() error {
	dir := func(name string) error {
		m := object.RootDirMeta()
		return e.directory(name, &m)
	}
	const repo = "sysroot/ostree/repo"
	dirs := []string{"sysroot", "sysroot/ostree", repo, repo + "/objects"}
	for i := range 256 {
		dirs = append(dirs, fmt.Sprintf("%s/objects/%02x", repo, i))
	}
	for _, name := range []string{"extensions", "refs", "refs/heads", "refs/mirrors", "refs/remotes", "state", "tmp", "tmp/cache"} {
		dirs = append(dirs, repo+"/"+name)
	}
	for _, name := range dirs {
		if err := dir(name); err != nil {
			return err
		}
	}
	return e.data(repo+"/config", []byte(repoConfig))
}

// files writes content objects, each followed by its names, and ends the archive.
func (e *exporter) files(ctx context.Context, files []ContentFile) error {
	for _, f := range files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := e.file(ctx, f); err != nil {
			return err
		}
	}
	return e.tw.Close()
}

var exportBuffers = sync.Pool{New: func() any { b := make([]byte, 256<<10); return &b }}

func (e *exporter) file(ctx context.Context, f ContentFile) (err error) {
	file, err := e.open(ctx, f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	m := objstore.MetaOf(file)
	sum := f.Sum.String()
	if err := e.data(objectPath(sum, "file-xattrs-link"), object.AppendXattrs(nil, m.Xattrs)); err != nil {
		return err
	}
	name := objectPath(sum, "file")
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: file.Info.Size}
	target := ""
	if m.Mode&object.ModeType == object.ModeSymlink {
		target = file.Info.SymlinkTarget
		h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, target // byte for byte (B39)
	}
	if err := e.write(h, m); err != nil {
		return fmt.Errorf("object %s.file of %q: %w", sum, f.first(), err)
	}
	if err := e.content(ctx, f, m, target, file); err != nil {
		return err
	}
	for _, path := range f.Paths {
		h := &tar.Header{Name: containerPath(path), Typeflag: tar.TypeLink, Linkname: name}
		linked := *m
		if target == "" && file.Info.Size == 0 {
			// Builders write to such files, and the write should not reach the object.
			h.Typeflag, h.Linkname = tar.TypeReg, ""
		} else {
			linked.Xattrs = nil // the object has them
		}
		if err := e.write(h, &linked); err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
	}
	return nil
}

// content copies the bytes of a file and compares its checksum, so that what is corrupted in the repository never leaves it.
func (e *exporter) content(ctx context.Context, f ContentFile, m *object.Meta, target string, file *ostree.File) error {
	sum := sha256.New()
	e.header = object.AppendFileHeader(e.header[:0], m, target)
	sum.Write(e.header)
	buf := exportBuffers.Get().(*[]byte)
	defer exportBuffers.Put(buf)
	for left := file.Info.Size; left > 0 && target == ""; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := io.ReadFull(file, (*buf)[:min(left, int64(len(*buf)))])
		if err != nil {
			return e.broken(f.Sum.String()+".file", f.first(), err)
		}
		left -= int64(n)
		sum.Write((*buf)[:n])
		if _, err := e.tw.Write((*buf)[:n]); err != nil {
			return err
		}
	}
	if got := object.Checksum(sum.Sum(nil)); got != f.Sum {
		return e.broken(f.Sum.String()+".file", f.first(), fmt.Errorf("corrupted, its checksum is %s", got))
	}
	return nil
}
