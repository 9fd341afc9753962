// Package objstore writes objects into a repository: many at a time, only those that are not there yet, and durable before a
// ref names them.
//
// A Store is one import's view of a repository. Objects are written by several goroutines at once into a staging directory;
// Publish makes everything written so far durable, moves it in among the repository's objects and then sets refs. Calls of
// Publish that come while one is under way share the next one, so that many small layers do not sync the file system once each.
//
// Two backends do the same work: direct.go writes bare and bare-user objects itself, in libostree's form on disk; libostree.go
// asks libostree for every object and is used wherever something is out of the ordinary. Both give the same repository.
package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

// ErrMismatch is returned when content does not have the checksum it is said to have. Nothing was written.
var ErrMismatch = errors.New("corrupted object")

// Mismatch returns an error that wraps ErrMismatch.
func Mismatch(want, got object.Checksum) error {
	return fmt.Errorf("%w: checksum expected=%s actual=%s", ErrMismatch, want, got)
}

// Backend says who writes the objects.
type Backend int

// Backends.
const (
	BackendAuto      Backend = iota // direct where the repository allows it
	BackendLibostree                // always through libostree
)

// Options change how a Store writes. The zero value is the default.
type Options struct {
	Backend Backend
	Logger  *slog.Logger // nil: silent
}

// Stats counts what a Store did. Sizes are in bytes of content.
type Stats struct {
	ObjectsWritten, ObjectsPresent int64
	BytesWritten                   int64
}

// backend writes single objects and moves them into place. All methods but publish may be called by several goroutines.
type backend interface {
	// has reports whether the object is in the repository or staged.
	has(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error)
	// hasFile is has for a content object that would be written otherwise: it may miss what another process has just written.
	hasFile(ctx context.Context, sum object.Checksum) (bool, error)
	// file writes a regular file or symlink whose checksum the caller computed.
	file(ctx context.Context, sum object.Checksum, m *object.Meta, target string, content []byte) error
	// stream writes a regular file of size bytes and returns its checksum; nothing is kept if want is not zero and differs.
	stream(ctx context.Context, want object.Checksum, m *object.Meta, size int64, r io.Reader) (object.Checksum, bool, error)
	// metadata writes a dirtree, dirmeta or commit.
	metadata(ctx context.Context, typ ostree.ObjectType, sum object.Checksum, data []byte) error
	// publish makes everything written so far durable and part of the repository, then sets refs (full name to checksum). If it
	// need not be lasting, a crash may undo that, but not leave half of an object.
	publish(ctx context.Context, refs map[string]string, lasting bool) error
	close() error
}

// Store writes objects into one repository; see the package documentation. It holds a shared lock of the repository from
// Open to Close, so that a prune in another process waits. Safe for concurrent use.
type Store struct {
	repo    *ostree.Repo
	lock    *ostree.RepoLock
	backend backend
	stats   struct{ written, present, bytes atomic.Int64 }

	mu      sync.Mutex
	queue   []*publishRequest
	running bool
	idle    sync.WaitGroup
}

// Object names an object.
type Object struct {
	Sum  object.Checksum
	Type ostree.ObjectType
}

type publishRequest struct {
	ctx     context.Context
	refs    map[string]string
	lasting bool
	done    chan error
}

// Open prepares for writing. A nil opts means the default. The result must be closed.
func Open(ctx context.Context, repo *ostree.Repo, opts *Options) (*Store, error) {
	if opts == nil {
		opts = &Options{}
	}
	if repo.Mode() == ostree.ModeBareUserOnly || repo.Mode() == ostree.ModeBareSplitXattrs {
		return nil, fmt.Errorf("repository %s has mode %s, which cannot hold owners and extended attributes: %w",
			repo.Path(), repo.Mode(), ostree.ErrUnsupported)
	}
	lock, err := repo.Lock(ctx, ostree.LockShared)
	if err != nil {
		return nil, fmt.Errorf("lock repository %s: %w", repo.Path(), err)
	}
	s := &Store{repo: repo, lock: lock}
	settings, why, err := directSettings(repo)
	if err == nil && opts.Backend == BackendAuto && why == "" {
		var d *direct
		switch d, err = openDirect(ctx, repo, settings); {
		case err == nil:
			s.backend = d
		case errors.Is(err, errNoTmpfile):
			why, err = err.Error(), nil
		}
	}
	if err != nil {
		return nil, errors.Join(s.explain(ctx, err, 0), lock.Unlock())
	}
	if s.backend == nil {
		if opts.Logger != nil && why != "" {
			opts.Logger.Debug("objects are written through libostree", "why", why)
		}
		s.backend = &viaLibostree{repo: repo}
	}
	return s, nil
}

// directSettings says whether objects may be written directly, and if not, why not.
func directSettings(repo *ostree.Repo) (settings directConfig, why string, err error) {
	mode := repo.Mode()
	switch {
	case mode != ostree.ModeBare && mode != ostree.ModeBareUser:
		return settings, "repository mode " + mode.String(), nil
	case mode == ostree.ModeBare && os.Geteuid() != 0:
		return settings, "not root", nil
	}
	config, err := repo.Config()
	if err != nil {
		return settings, "", fmt.Errorf("repository %s: %w", repo.Path(), err)
	}
	for _, unusual := range [][2]string{
		{"core", "parent"}, {"core", "payload-link-threshold"}, {"core", "per-object-fsync"}, {"ex-integrity", "fsverity"}, {"ex-integrity", "composefs"},
	} {
		if config.HasKey(unusual[0], unusual[1]) {
			return settings, "repository config has " + unusual[0] + "." + unusual[1], nil
		}
	}
	fsync, err := config.Bool("core", "fsync")
	switch {
	case errors.Is(err, keyfile.ErrKeyNotFound), errors.Is(err, keyfile.ErrGroupNotFound):
		fsync = true
	case err != nil:
		return settings, "", fmt.Errorf("repository %s: core.fsync: %w", repo.Path(), err)
	}
	settings.noSync = !fsync
	return settings, "", nil
}

// KeepsEmptyXattrs reports whether a file's extended attributes may have empty values: those of a bare repository are read back
// from disk by libostree, which skips empty ones.
func (s *Store) KeepsEmptyXattrs() bool { return s.repo.Mode() != ostree.ModeBare }

// Has reports whether an object is in the repository, published or not.
func (s *Store) Has(ctx context.Context, typ ostree.ObjectType, sum object.Checksum) (bool, error) {
	return s.backend.has(ctx, typ, sum)
}

// File stores a regular file whose content is at hand, or, if target is not empty, a symlink. If want is not zero and the
// checksum differs, the error wraps ErrMismatch.
func (s *Store) File(ctx context.Context, want object.Checksum, m *object.Meta, target string, content []byte) (object.Checksum, error) {
	sum := object.FileChecksum(m, target, content)
	if !want.IsZero() && sum != want {
		return sum, Mismatch(want, sum)
	}
	return sum, s.SummedFile(ctx, sum, m, target, content)
}

// SummedFile is File for a checksum that the caller has computed.
func (s *Store) SummedFile(ctx context.Context, sum object.Checksum, m *object.Meta, target string, content []byte) error {
	present, err := s.backend.hasFile(ctx, sum)
	if err != nil {
		return err
	}
	if present {
		s.stats.present.Add(1)
		return nil
	}
	if err := s.backend.file(ctx, sum, m, target, content); err != nil {
		return s.explain(ctx, err, int64(len(content)))
	}
	s.wrote(ctx, int64(len(content)))
	return nil
}

// Stream stores a regular file of size bytes without holding it in memory. It is an error if r ends early. If want is not zero
// and the checksum differs, the error wraps ErrMismatch and nothing is kept. A twinhash.Through is hashed as it is read.
func (s *Store) Stream(ctx context.Context, want object.Checksum, m *object.Meta, size int64, r io.Reader) (object.Checksum, error) {
	sum, written, err := s.backend.stream(ctx, want, m, size, r)
	if err != nil {
		return sum, s.explain(ctx, err, size)
	}
	if written {
		s.wrote(ctx, size)
	} else {
		s.stats.present.Add(1)
	}
	return sum, nil
}

// DirMeta stores a directory's metadata.
func (s *Store) DirMeta(ctx context.Context, m *object.Meta) (object.Checksum, error) {
	return s.metadata(ctx, ostree.ObjectDirMeta, object.AppendMeta(nil, m))
}

// DirTree stores a directory's content.
func (s *Store) DirTree(ctx context.Context, t *object.DirTree) (object.Checksum, error) {
	return s.metadata(ctx, ostree.ObjectDirTree, t.Encode())
}

// Commit stores a commit. It is not visible until Publish sets a ref to it.
func (s *Store) Commit(ctx context.Context, c *object.Commit) (object.Checksum, error) {
	data, err := c.Encode()
	if err != nil {
		return object.Checksum{}, err
	}
	return s.metadata(ctx, ostree.ObjectCommit, data)
}

// Metadata stores a metadata object as it is; if want is not zero and the checksum differs, the error wraps ErrMismatch.
func (s *Store) Metadata(ctx context.Context, typ ostree.ObjectType, want object.Checksum, data []byte) (object.Checksum, error) {
	if sum := object.Sum(data); !want.IsZero() && sum != want {
		return sum, Mismatch(want, sum)
	}
	return s.metadata(ctx, typ, data)
}

func (s *Store) metadata(ctx context.Context, typ ostree.ObjectType, data []byte) (object.Checksum, error) {
	sum := object.Sum(data)
	present, err := s.backend.has(ctx, typ, sum)
	if err != nil {
		return sum, err
	}
	if present {
		s.stats.present.Add(1)
		return sum, nil
	}
	if err := s.backend.metadata(ctx, typ, sum, data); err != nil {
		return sum, s.explain(ctx, err, int64(len(data)))
	}
	s.wrote(ctx, int64(len(data)))
	return sum, nil
}

// Publish makes everything written before the call durable and part of the repository, then sets refs (full name to commit
// checksum; may be nil). It returns when that has happened, or early when ctx is done; what was begun is finished all the same.
func (s *Store) Publish(ctx context.Context, refs map[string]string) error {
	select {
	case err := <-s.request(ctx, refs, true):
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// request asks for a publish and returns where its end will be told.
func (s *Store) request(ctx context.Context, refs map[string]string, lasting bool) <-chan error {
	req := &publishRequest{ctx: ctx, refs: refs, lasting: lasting, done: make(chan error, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, req)
	if !s.running {
		s.running = true
		s.idle.Add(1)
		go s.publishLoop()
	}
	return req.done
}

// flushEvery is after how many objects they are moved into the repository without being asked for, so that what is remembered of
// them, and what a sync has to write, is bounded.
const flushEvery = 4 << 10

// flushBytes is after how many bytes that happens too: what waits is written again if the process is killed.
const flushBytes = 1 << 30

// wrote counts an object.
func (s *Store) wrote(ctx context.Context, size int64) {
	bytes := s.stats.bytes.Add(size)
	if s.stats.written.Add(1)%flushEvery == 0 || bytes/flushBytes != (bytes-size)/flushBytes {
		s.request(ctx, nil, false) // if it fails, the publish that sets refs fails too
	}
}

func (s *Store) publishLoop() {
	defer s.idle.Done()
	for {
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		if len(batch) == 0 {
			s.running = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		refs := map[string]string{}
		var live []*publishRequest
		lasting := false
		for _, req := range batch {
			if err := req.ctx.Err(); err != nil { // its layer was given up: do not make it visible
				req.done <- context.Cause(req.ctx)
				continue
			}
			live = append(live, req)
			lasting = lasting || req.lasting
			for name, sum := range req.refs {
				refs[name] = sum
			}
		}
		if len(live) == 0 {
			continue
		}
		ctx := context.WithoutCancel(live[0].ctx)
		err := s.explain(ctx, s.backend.publish(ctx, refs, lasting), 0)
		for _, req := range live {
			req.done <- err
		}
	}
}

// Stats returns the counts so far.
func (s *Store) Stats() Stats {
	return Stats{ObjectsWritten: s.stats.written.Load(), ObjectsPresent: s.stats.present.Load(), BytesWritten: s.stats.bytes.Load()}
}

// Close waits for a Publish under way, gives up what was not published and releases the lock of the repository.
func (s *Store) Close() error {
	s.idle.Wait()
	return errors.Join(s.backend.close(), s.lock.Unlock())
}
