package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/keyfile"
)

// ErrNotOSTreeContainer: the program does not run in a container that is made of an ostree commit.
var ErrNotOSTreeContainer = errors.New("Not in an ostree-based container environment") //nolint:staticcheck // the reference's text

// buildDirs are the directories whose content CleanBuild removes.
var buildDirs = []string{"run", "tmp", "var/tmp", "var/cache"}

// repoConfigs are where a container that is made of an ostree commit has the config of its repository: format 1, and 0.
var repoConfigs = []string{"sysroot/ostree/repo/config", "sysroot/config"}

// InOSTreeContainer reports whether root (the root directory, "/", but for tests) is that of a container made of an ostree commit: it has
// a repository of mode bare-split-xattrs, and the process is in a container, or at least neither a unit of systemd nor on a host that
// ostree booted.
func InOSTreeContainer(root string) (bool, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return false, err
	}
	defer r.Close() //nolint:errcheck // only read
	split, err := isBareSplitXattrs(r)
	if err != nil || !split {
		return false, err
	}
	if _, said := os.LookupEnv("container"); said || exists(r, "run/.containerenv") || exists(r, ".dockerenv") {
		return true, nil
	}
	_, unit := os.LookupEnv("INVOCATION_ID")
	return !unit && !exists(r, "run/ostree-booted"), nil
}

func exists(r *os.Root, name string) bool {
	_, err := r.Stat(name)
	return err == nil
}

func isBareSplitXattrs(r *os.Root) (bool, error) {
	for _, name := range repoConfigs {
		f, err := r.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		text, err := io.ReadAll(io.LimitReader(f, maxConfigFile))
		if err := errors.Join(err, f.Close()); err != nil {
			return false, err
		}
		config, err := keyfile.Parse(text)
		if err != nil {
			return false, fmt.Errorf("/%s: %w", name, err)
		}
		mode, err := config.String("core", "mode")
		return err == nil && mode == "bare-split-xattrs", nil //nolint:nilerr // not set
	}
	return false, nil
}

// CleanBuild removes what the steps of a container build leave behind: everything in /run, /tmp, /var/tmp and /var/cache below root. The
// directories themselves stay, and so does what is on another file system or is a mount point. No symbolic link leads out of root.
func CleanBuild(ctx context.Context, root string) error {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: root, Err: err}
	}
	for _, name := range buildDirs {
		how := unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
		dir, err := unix.Openat2(fd, name, &how)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("Cleaning %s: %w", name, err) //nolint:staticcheck // the reference's text
		}
		if _, err := removeContent(ctx, dir, name, st.Dev); err != nil {
			return fmt.Errorf("Cleaning %s: %w", name, err) //nolint:staticcheck // the reference's text
		}
	}
	return nil
}

// removeContent empties a directory, which it closes, and reports whether something had to stay.
func removeContent(ctx context.Context, fd int, path string, dev uint64) (stays bool, err error) {
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close() //nolint:errcheck // only read
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		var st unix.Statx_t
		if err := unix.Statx(fd, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, &st); err != nil {
			return false, &os.PathError{Op: "stat", Path: path + "/" + name, Err: err}
		}
		if unix.Mkdev(st.Dev_major, st.Dev_minor) != dev || st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0 {
			stays = true
			continue
		}
		flags := 0
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if err != nil {
				return false, &os.PathError{Op: "open", Path: path + "/" + name, Err: err}
			}
			subStays, err := removeContent(ctx, sub, path+"/"+name, dev)
			if err != nil {
				return false, err
			}
			if subStays {
				stays = true
				continue
			}
			flags = unix.AT_REMOVEDIR
		}
		if err := unix.Unlinkat(fd, name, flags); err != nil {
			return false, &os.PathError{Op: "remove", Path: path + "/" + name, Err: err}
		}
	}
	return stays, nil
}
