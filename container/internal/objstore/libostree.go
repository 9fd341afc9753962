package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// viaLibostree writes every object through libostree, in one transaction after the other. Several threads may write into one
// transaction, but none while it is prepared or committed: mu is held shared by writers. A transaction is begun with the first
// object, as one that is aborted leaves its staging directory behind.
type viaLibostree struct {
	repo *ostree.Repo
	mu   sync.RWMutex
	tx   *ostree.Transaction // nil: none is open

	// commits wait until what they need is in the repository: libostree moves the objects of a transaction there in any order,
	// and a process killed meanwhile would leave a commit without its objects, which fsck calls corruption.
	commitsMu sync.Mutex
	commits   map[object.Checksum][]byte
}

// write calls fn inside a transaction.
func (l *viaLibostree) write(ctx context.Context, fn func() error) error {
	l.mu.RLock()
	for l.tx == nil {
		l.mu.RUnlock()
		if err := l.begin(ctx); err != nil {
			return err
		}
		l.mu.RLock()
	}
	defer l.mu.RUnlock()
	return fn()
}

func (l *viaLibostree) begin(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tx != nil {
		return nil
	}
	tx, err := l.repo.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	l.tx = tx
	return nil
}

func (l *viaLibostree) has(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.repo.HasObject(ctx, typ, sum.String())
}

func (l *viaLibostree) hasFile(ctx context.Context, sum object.Checksum) (bool, error) {
	return l.has(ctx, ostree.ObjectFile, sum)
}

func (l *viaLibostree) file(ctx context.Context, sum object.Checksum, m *object.Meta, target string, content []byte) error {
	if err := probe(l.repo, m); err != nil {
		return err
	}
	return l.write(ctx, func() error {
		size := int64(len(content))
		_, err := l.repo.WriteContent(ctx, sum.String(), fileInfo(m, target, size), xattrs(m), bytes.NewReader(content), size)
		return err
	})
}

func (l *viaLibostree) stream(ctx context.Context, want object.Checksum, m *object.Meta, size int64, r io.Reader) (sum object.Checksum, written bool, err error) {
	expected := ""
	if !want.IsZero() {
		expected = want.String()
		if present, err := l.has(ctx, ostree.ObjectFile, want); err != nil {
			return want, false, err
		} else if present {
			return verifyStream(ctx, want, m, size, r)
		}
	}
	if err := probe(l.repo, m); err != nil {
		return want, false, err
	}
	err = l.write(ctx, func() error {
		exact := &exactReader{r: r, left: size}
		got, err := l.repo.WriteContent(ctx, expected, fileInfo(m, "", size), xattrs(m), exact, size)
		if err != nil && exact.err != nil {
			err = exact.err
		}
		if err == nil {
			sum, err = object.ParseChecksum(got)
		}
		return err
	})
	return sum, true, err
}

func (l *viaLibostree) metadata(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, data []byte) error {
	if typ == ostree.ObjectCommit {
		l.commitsMu.Lock()
		defer l.commitsMu.Unlock()
		if l.commits == nil {
			l.commits = map[object.Checksum][]byte{}
		}
		l.commits[sum] = data
		return nil
	}
	return l.write(ctx, func() error {
		_, err := l.repo.WriteMetadata(ctx, typ, sum.String(), data)
		return err
	})
}

func (l *viaLibostree) publish(ctx context.Context, refs map[string]string, _ bool) error {
	// A commit that is here now was made after its objects: they are in the open transaction, or were published.
	l.commitsMu.Lock()
	commits := maps.Clone(l.commits)
	l.commitsMu.Unlock()
	if err := l.end(ctx, nil); err != nil {
		return err
	}
	for sum, data := range commits {
		err := l.write(ctx, func() error {
			_, err := l.repo.WriteMetadata(ctx, ostree.ObjectCommit, sum.String(), data)
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(refs) > 0 {
		if err := l.begin(ctx); err != nil {
			return err
		}
	}
	if err := l.end(ctx, refs); err != nil {
		return err
	}
	l.commitsMu.Lock()
	for sum := range commits {
		delete(l.commits, sum)
	}
	l.commitsMu.Unlock()
	return nil
}

// end commits the open transaction, if there is one.
func (l *viaLibostree) end(ctx context.Context, refs map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tx == nil {
		return nil
	}
	for name, sum := range refs {
		if err := l.tx.SetRef("", name, sum); err != nil {
			return fmt.Errorf("set ref %s: %w", name, err)
		}
	}
	_, err := l.tx.Commit(ctx)
	if err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	l.tx = nil
	return nil
}

func (l *viaLibostree) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tx == nil {
		return nil
	}
	return l.tx.Abort()
}

func fileInfo(m *object.Meta, target string, size int64) ostree.FileInfo {
	return ostree.FileInfo{UID: m.UID, GID: m.GID, Mode: m.Mode, Size: size, SymlinkTarget: target}
}

func xattrs(m *object.Meta) []ostree.Xattr {
	out := make([]ostree.Xattr, len(m.Xattrs))
	for i, x := range m.Xattrs {
		out[i] = ostree.Xattr{Name: x.Name, Value: x.Value}
	}
	return out
}

// exactReader gives exactly left bytes and keeps the error of a source that ends early, which libostree would reword.
type exactReader struct {
	r    io.Reader
	left int64
	err  error
}

func (e *exactReader) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n, err := e.r.Read(p[:min(int64(len(p)), e.left)])
	e.left -= int64(n)
	if err != nil && e.left > 0 {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		e.err = err
		return n, err
	}
	return n, nil
}
