package objectset

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/work"
	"github.com/ostree-container/ostree-container/ostree"
)

// Verifier checks the signatures of a commit: its bytes and those of its detached metadata, which is nil if the image has none. It
// returns what to tell the user.
type Verifier func(ctx context.Context, commit, detached []byte) (text string, err error)

// CommitLayer is a commit read from the first layer of an image. Its metadata objects are stored, the commit itself is not: that is
// for the caller, when all objects it needs are there.
type CommitLayer struct {
	Checksum   object.Checksum
	Data       []byte // the commit object
	Detached   []byte // its detached metadata (a{sv}), nil if there is none
	VerifyText string // what the Verifier said
}

// ImportCommit reads the first layer of an ostree-native image, an uncompressed tar stream. verify, if not nil, is called before anything is stored; it needs
// the detached metadata, which then must follow the commit at once. Errors about a member are *layer.EntryError.
func ImportCommit(ctx context.Context, store *objstore.Store, pool *work.Pool, r io.Reader, verify Verifier) (*CommitLayer, error) {
	s := newScanner(ctx, store, pool, r)
	defer s.group.Cancel(nil)
	c, err := s.commit(verify)
	if err != nil {
		s.group.Cancel(err)
	}
	if err := s.group.Wait(); err != nil {
		return nil, err
	}
	return c, nil
}

func (s *scanner) commit(verify Verifier) (*CommitLayer, error) {
	m, err := s.next()
	if errors.Is(err, io.EOF) {
		return nil, formatError("Commit object not found")
	} else if err != nil {
		return nil, err
	}
	if m.kind != "commit" {
		return nil, atEntry(s.group.Ctx, m.header.Name, formatError("Expected commit object, not %q", m.kind))
	}
	data, err := s.metadata(m)
	if err != nil {
		return nil, atEntry(s.group.Ctx, m.header.Name, err)
	}
	c := &CommitLayer{Checksum: m.sum, Data: data}

	m, err = s.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if err == nil && m.kind == "commitmeta" {
		if c.Detached, err = s.detached(m, c.Checksum); err != nil {
			return nil, atEntry(s.group.Ctx, m.header.Name, err)
		}
		m, err = s.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	} else if verify != nil {
		found := "the end of the layer"
		if err == nil {
			found = m.kind
		}
		return nil, formatError("the commit has to be verified: Expected commitmeta object, not %s", found)
	}
	if verify != nil {
		var verr error
		if c.VerifyText, verr = verify(s.group.Ctx, c.Data, c.Detached); verr != nil {
			return nil, fmt.Errorf("verify commit %s: %w", c.Checksum, verr)
		}
	}
	for ; err == nil; m, err = s.next() {
		if err := s.commitMember(m, c); err != nil {
			return nil, atEntry(s.group.Ctx, m.header.Name, err)
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return c, s.finish()
}

// commitMember stores an object that follows the commit.
func (s *scanner) commitMember(m *member, c *CommitLayer) error {
	var typ ostree.ObjectType
	switch m.kind {
	case "commit":
		return formatError("Found multiple commit objects")
	case "commitmeta":
		if c.Detached != nil {
			return formatError("Found multiple commitmeta objects")
		}
		var err error
		c.Detached, err = s.detached(m, c.Checksum)
		return err
	case "dirtree":
		typ = ostree.ObjectDirTree
	case "dirmeta":
		typ = ostree.ObjectDirMeta
	default:
		_, err := s.content(m)
		return err
	}
	data, err := s.metadata(m)
	if err != nil {
		return err
	}
	if len(data) > work.SmallFile { // too large to wait in the queue
		_, err := s.store.Metadata(s.group.Ctx, typ, m.sum, data)
		return err
	}
	sum, name := m.sum, m.header.Name
	return s.group.Do(func() error {
		if _, err := s.store.Metadata(s.group.Ctx, typ, sum, data); err != nil {
			return atEntry(s.group.Ctx, name, err)
		}
		return nil
	})
}

// metadata reads a metadata object and checks that it is what its name says.
func (s *scanner) metadata(m *member) ([]byte, error) {
	data, err := s.read(m, maxMetadata)
	if err != nil {
		return nil, err
	}
	if sum := object.Sum(data); sum != m.sum {
		return nil, formatError("Corrupted metadata object; checksum expected=%s actual=%s", m.sum, sum)
	}
	switch m.kind {
	case "dirtree":
		err = object.CheckDirTree(data)
	case "dirmeta":
		err = object.CheckDirMeta(data)
	case "commit":
		err = checkCommit(data)
	}
	if err != nil {
		return nil, formatError("%s.%s: %v", m.sum, m.kind, err)
	}
	return data, nil
}

// checkCommit refuses a commit object whose structure is not what libostree's fsck wants: ostree_validate_structureof_commit.
func checkCommit(data []byte) error {
	v, err := normalVariant(ostree.ObjectCommit.VariantType(), data)
	if err != nil {
		return err
	}
	if _, err := ostree.ParseCommit(v); err != nil {
		return err
	}
	return checkKeys(v.Child(0))
}

// normalVariant reads a value that has to be in normal form: GLib, and so fsck, takes what is not for another value.
func normalVariant(typ string, data []byte) (*ostree.Variant, error) {
	v, err := ostree.VariantFromBytes(typ, data)
	if err != nil {
		return nil, err
	}
	if !v.IsNormalForm() {
		return nil, fmt.Errorf("not in normal form as %s", typ)
	}
	return v, nil
}

// maxKeys is how many keys a dictionary of metadata may have; real ones have a dozen.
const maxKeys = 4096

// checkKeys refuses a dictionary in which a key is there twice: of two readers each may see another value.
func checkKeys(dict *ostree.Variant) error {
	if n := dict.Len(); n > maxKeys {
		return fmt.Errorf("%d metadata keys, at most %d are taken", n, maxKeys)
	}
	seen := map[string]bool{}
	for _, key := range dict.Keys() {
		if seen[key] {
			return fmt.Errorf("metadata key %q is there twice", key)
		}
		seen[key] = true
	}
	return nil
}

func (s *scanner) detached(m *member, commit object.Checksum) ([]byte, error) {
	if m.sum != commit {
		return nil, formatError("Expected commitmeta object %s, found %s", commit, m.sum)
	}
	data, err := s.read(m, maxMetadata)
	if err != nil {
		return nil, err
	}
	v, err := normalVariant("a{sv}", data)
	if err == nil {
		err = checkKeys(v)
	}
	if err != nil {
		return nil, formatError("%s.%s: %v", m.sum, m.kind, err)
	}
	return data, nil
}
