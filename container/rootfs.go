package container

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/gvariant"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/objstore"
	"github.com/ostree-container/ostree-container/container/internal/ocidir"
	"github.com/ostree-container/ostree-container/container/internal/rootfs"
	"github.com/ostree-container/ostree-container/ostree"
)

// ErrUnsuitableRootfs is wrapped by errors about a directory that cannot become a commit.
var ErrUnsuitableRootfs = rootfs.ErrUnsuitable

// RootfsOptions are options of CommitRootfs; nil means the default.
type RootfsOptions struct {
	// Created is the time of the commit, to the second; zero: what SOURCE_DATE_EPOCH says, else now. The same tree and time give the same
	// commit.
	Created time.Time
	// SELinux gives everything the label that the tree's own policy has for it. Without it labels stay as they are.
	SELinux bool
	// Strict refuses devices, FIFOs, sockets and what is mounted inside, which are otherwise left out.
	Strict bool
	// Skipped is told of everything that is left out ("/dev/null", "is made at boot"), one call at a time; nil: nobody.
	Skipped func(path, why string)
	// Logger gets what is of interest but no error; nil: silent.
	Logger *slog.Logger
}

// CommitRootfs makes a commit of a directory, the root of an operating system such as a container build leaves it, and returns its checksum
// (64 hex digits). No ref is set: a prune removes it. Owners, modes and extended attributes are kept, so that this is for root.
//
// /etc becomes /usr/etc, which must not exist besides. Of /run, /tmp, /proc, /sys, /dev and /sysroot only the directory itself is kept, as of
// a mount point inside: other file systems are not entered. Devices, FIFOs and sockets are left out, and the empty /etc/hostname and
// /etc/resolv.conf of container builders. With one kernel (/usr/lib/modules/VERSION/vmlinuz) the commit says that it is bootable
// (ostree.bootable, ostree.linux).
//
// Errors about the tree wrap ErrUnsuitableRootfs.
func CommitRootfs(ctx context.Context, repo *ostree.Repo, path string, opts *RootfsOptions) (_ string, err error) {
	if opts == nil {
		opts = &RootfsOptions{}
	}
	stamp, err := opts.timestamp()
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("commit %s: %w", path, err)
		}
	}()
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO would block
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if fi, err := dir.Stat(); err != nil {
		return "", err
	} else if !fi.IsDir() {
		return "", fmt.Errorf("%w: it is not a directory", ErrUnsuitableRootfs)
	}
	write := &rootfs.Options{Strict: opts.Strict, Skipped: opts.Skipped}
	if opts.SELinux {
		policy, err := ostree.NewSePolicyAt(ctx, int(dir.Fd()))
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, policy.Close()) }()
		if policy.Name() == "" {
			return "", fmt.Errorf("%w: it has no SELinux policy", ErrUnsuitableRootfs)
		}
		write.Label = policy.Label
	}
	store, err := objstore.Open(ctx, repo, &objstore.Options{Logger: opts.Logger})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	tree, err := rootfs.Write(ctx, store, int(dir.Fd()), write)
	if err != nil {
		return "", err
	}
	c := &object.Commit{Metadata: map[string]gvariant.Value{}, Timestamp: stamp, Tree: tree.Tree, Meta: tree.Meta}
	switch len(tree.Kernels) {
	case 0:
	case 1:
		c.Metadata[metaBootable], c.Metadata[metaLinux] = gvariant.Bool(true), gvariant.String(tree.Kernels[0])
	default:
		return "", fmt.Errorf("%w: it has several kernels: %s", ErrUnsuitableRootfs, strings.Join(tree.Kernels, ", "))
	}
	sum, err := store.Commit(ctx, c)
	if err != nil {
		return "", err
	}
	return sum.String(), store.Publish(ctx, nil)
}

func (o *RootfsOptions) timestamp() (uint64, error) {
	t := o.Created
	if t.IsZero() {
		t = time.Now()
		if text, ok := os.LookupEnv("SOURCE_DATE_EPOCH"); ok {
			seconds, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("SOURCE_DATE_EPOCH %q: %w", text, err)
			}
			t = time.Unix(seconds, 0)
		}
	}
	if t.Unix() < 0 || uint64(t.Unix()) > maxTimestamp {
		return 0, fmt.Errorf("time %s: out of range", t)
	}
	return uint64(t.Unix()), nil
}

// EncapsulateRootfs is CommitRootfs and Encapsulate. Without a repository (nil) the commit is made in a temporary one below $TMPDIR or
// /var/tmp, which must hold extended attributes of users and has to have room for the tree. The repository is locked, shared, until the image is
// written: prunes of other Repos wait.
func EncapsulateRootfs(ctx context.Context, repo *ostree.Repo, path string, dest imageref.ImageReference, tree *RootfsOptions,
	opts *EncapsulateOptions,
) (_ digest.Digest, err error) {
	if repo == nil {
		dir, err := os.MkdirTemp(ocidir.TempDir(), "ostree-container-")
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		// It can keep what a bare one cannot, on every file system, and needs no compression.
		if repo, err = ostree.CreateRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeBareUser); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, repo.Close()) }()
		if err := unsynced(repo); err != nil {
			return "", err
		}
	}
	lock, err := repo.Lock(ctx, ostree.LockShared) // no ref keeps the commit from a prune
	if err != nil {
		return "", fmt.Errorf("lock repository %s: %w", repo.Path(), err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	commit, err := CommitRootfs(ctx, repo, path, tree)
	if err != nil {
		return "", err
	}
	return Encapsulate(ctx, repo, commit, dest, opts)
}

// unsynced makes a repository that does not outlive the process leave it to the kernel when things reach the disk.
func unsynced(repo *ostree.Repo) error {
	config, err := repo.Config()
	if err != nil {
		return err
	}
	if err := config.SetString("core", "fsync", "false"); err != nil {
		return err
	}
	return repo.WriteConfig(config)
}
