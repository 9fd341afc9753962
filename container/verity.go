package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirnames"
	"github.com/ostree-container/ostree-container/container/internal/fsverity"
	"github.com/ostree-container/ostree-container/keyfile"
	"github.com/ostree-container/ostree-container/ostree"
)

// VerityOptions are options of EnsureVerity; nil means the default.
type VerityOptions struct {
	// DryRun only looks.
	DryRun bool
	// Jobs is how many files are worked on at once; 0: one for each processor.
	Jobs int
}

// VerityResult counts the content objects that are regular files.
type VerityResult struct {
	Present int64 // that had fs-verity
	Enabled int64 // that have it now, or with DryRun would have
	// Unsupported: with DryRun, the file system or the kernel has no fs-verity, so that it cannot be turned on.
	Unsupported bool
	// Lasting: the repository says (ex-integrity.fsverity, or without that ex-integrity.composefs, is yes or maybe) that objects that are written later get it, too.
	Lasting bool
}

// EnsureVerity turns on fs-verity for all content objects of a bare or bare-user repository: if one is changed on the disk, the kernel
// refuses to read it. It waits for imports to end.
//
// The file "config" of the repository gets fs-verity last. That is bootc's mark that all objects were gone through. It says nothing of
// objects written since, which have fs-verity only where the repository asks for it (ex-integrity.fsverity). So the mark is not relied on:
// each run looks at all objects, leaves alone those that have fs-verity, and turns it on for the others.
//
// The error wraps ostree.ErrUnsupported where the file system or the kernel has no fs-verity, and for repositories of other modes.
func EnsureVerity(ctx context.Context, repo *ostree.Repo, opts *VerityOptions) (*VerityResult, error) {
	return ensureVerity(ctx, repo, opts, fsverity.Enable, fsverity.Enabled)
}

// ensureVerity takes what it calls for a file, since kernels at hand may have no fs-verity.
func ensureVerity(ctx context.Context, repo *ostree.Repo, opts *VerityOptions, enable, enabled func(fd int) (bool, error)) (_ *VerityResult, err error) {
	if opts == nil {
		opts = &VerityOptions{}
	}
	defer func() {
		if errors.Is(err, fsverity.ErrUnsupported) {
			err = fmt.Errorf("%w: %w", ostree.ErrUnsupported, err)
		}
		if err != nil {
			err = fmt.Errorf("fs-verity of repository %s: %w", repo.Path(), err)
		}
	}()
	if mode := repo.Mode(); mode != ostree.ModeBare && mode != ostree.ModeBareUser {
		return nil, fmt.Errorf("%w: its mode is %s, of which no file is ever deployed", ostree.ErrUnsupported, mode)
	}
	v := &verity{repo: repo, work: enable}
	if opts.DryRun {
		v.work = func(fd int) (bool, error) {
			on, err := enabled(fd)
			if errors.Is(err, fsverity.ErrUnsupported) {
				v.unsupported.Store(true)
				err = nil
			}
			return !on, err
		}
	}
	all := func(*ostree.Repo) error {
		if opts.DryRun { // there may be no objects
			if _, err := v.file("config"); err != nil {
				return err
			}
		}
		jobs := opts.Jobs
		if jobs <= 0 {
			jobs = runtime.GOMAXPROCS(0)
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(jobs)
		for prefix := range 256 {
			g.Go(func() error { return v.directory(gctx, fmt.Sprintf("objects/%02x", prefix)) })
		}
		if err := g.Wait(); err != nil || opts.DryRun {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return err
		}
		_, err := v.file("config")
		return err
	}
	if opts.DryRun { // may be read-only
		err = all(repo)
	} else {
		err = exclusively(ctx, repo, all)
	}
	if err != nil {
		return nil, err
	}
	lasting, err := lastingVerity(repo)
	if err != nil {
		return nil, err
	}
	return &VerityResult{Present: v.present.Load(), Enabled: v.enabled.Load(), Unsupported: v.unsupported.Load(), Lasting: lasting}, nil
}

// lastingVerity reports whether libostree, which then writes all objects, turns it on: where composefs is wanted it does so unless told
// otherwise.
func lastingVerity(repo *ostree.Repo) (bool, error) {
	config, err := repo.Config()
	if err != nil {
		return false, err
	}
	for _, key := range []string{"fsverity", "composefs"} {
		value, err := config.String("ex-integrity", key)
		switch {
		case errors.Is(err, keyfile.ErrGroupNotFound), errors.Is(err, keyfile.ErrKeyNotFound):
			continue
		case err != nil:
			return false, err
		}
		return slices.Contains([]string{"yes", "maybe", "true", "1"}, value), nil
	}
	return false, nil
}

type verity struct {
	repo             *ostree.Repo
	work             func(fd int) (bool, error)
	present, enabled atomic.Int64
	unsupported      atomic.Bool
}

func (v *verity) directory(ctx context.Context, path string) error {
	names, err := dirnames.List(v.repo.FD(), path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !strings.HasSuffix(name, ".file") {
			continue
		}
		changed, err := v.file(path + "/" + name)
		switch {
		case errors.Is(err, errNoFile):
		case err != nil:
			return err
		case changed:
			v.enabled.Add(1)
		default:
			v.present.Add(1)
		}
	}
	return nil
}

// errNoFile is returned for a symlink.
var errNoFile = errors.New("not a regular file")

func (v *verity) file(path string) (bool, error) {
	fd, err := unix.Openat(v.repo.FD(), path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ELOOP) {
		return false, errNoFile
	} else if err != nil {
		return false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return false, errNoFile
	}
	changed, err := v.work(fd)
	if err != nil {
		return false, &os.PathError{Op: "enable fs-verity of", Path: path, Err: err}
	}
	return changed, nil
}
