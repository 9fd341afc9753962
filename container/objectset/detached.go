package objectset

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// ReplaceDetached copies the first layer of an image, an uncompressed tar stream, with other detached metadata (a serialized a{sv}) for its
// commit; nil removes it. All other bytes stay as they are. It returns ErrFormat for a stream without a commit.
func ReplaceDetached(w io.Writer, r io.Reader, detached []byte) error {
	c := &copier{src: r, dst: w}
	tr := tar.NewReader(c)
	commit := ""
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("tar: %w", err)
		}
		// Held is the padding of the member before, which belongs to that, then what leads up to the content of this one.
		c.endMember()
		if kind, sum := memberKind(h); kind == "commit" && commit == "" {
			if commit, err = sum, c.passMember(tr); err == nil && detached != nil {
				c.insert, err = commitmetaMember(sum, detached)
			}
		} else if kind == "commitmeta" {
			err = c.dropMember(tr)
		} else {
			err = c.passMember(tr)
		}
		if err != nil {
			return err
		}
	}
	if commit == "" {
		return formatError("Missing commit object")
	}
	c.endMember()
	if err := c.flush(); err != nil {
		return err
	}
	_, err := io.Copy(w, r) // what follows the end of the archive
	return err
}

func memberKind(h *tar.Header) (kind, sum string) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(path.Clean("/"+h.Name), "/"), repoPrefix)
	if !ok || h.Typeflag != tar.TypeReg {
		return "", ""
	}
	m, err := parseMember(rest)
	if err != nil || m == nil {
		return "", ""
	}
	return m.kind, m.sum.String()
}

// commitmetaMember is a member with its padding.
func commitmetaMember(sum string, data []byte) ([]byte, error) {
	var b bytes.Buffer
	e := &exporter{tw: tar.NewWriter(&b)}
	if err := e.data(objectPath(sum, "commitmeta"), data); err != nil {
		return nil, err
	}
	err := e.tw.Flush()
	return b.Bytes(), err
}

// copier hands bytes to a tar reader and keeps them until it is known what they are.
type copier struct {
	src     io.Reader
	dst     io.Writer
	held    []byte
	through bool  // content is passed on at once
	drop    bool  // the member is left out
	size    int64 // of the content that was read, in bytes
	padding int   // behind it
	insert  []byte
	err     error
}

func (c *copier) Read(p []byte) (int, error) {
	n, err := c.src.Read(p)
	if !c.through {
		c.held = append(c.held, p[:n]...)
		return n, err
	}
	c.size += int64(n)
	if !c.drop {
		c.write(p[:n])
	}
	return n, err
}

// endMember passes on the padding of a member, and what is to follow it.
func (c *copier) endMember() {
	n := min(c.padding, len(c.held))
	if !c.drop {
		c.write(c.held[:n])
	}
	c.held, c.padding, c.drop = c.held[n:], 0, false
	c.write(c.insert)
	c.insert = nil
}

func (c *copier) write(p []byte) {
	if c.err == nil && len(p) > 0 {
		_, c.err = c.dst.Write(p)
	}
}

func (c *copier) flush() error {
	c.write(c.held)
	c.held = nil
	return c.err
}

func (c *copier) passMember(tr *tar.Reader) error {
	if err := c.flush(); err != nil {
		return err
	}
	return c.content(tr)
}

func (c *copier) dropMember(tr *tar.Reader) error {
	c.held, c.drop = nil, true
	return c.content(tr)
}

func (c *copier) content(tr *tar.Reader) error {
	c.through, c.size = true, 0
	defer func() { c.through = false }()
	if _, err := io.Copy(io.Discard, tr); err != nil {
		return fmt.Errorf("tar: %w", err)
	}
	c.padding = int(-c.size & 511)
	return c.err
}
