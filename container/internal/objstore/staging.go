package objstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirnames"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// stagingDir is a directory REPO/tmp/staging-BOOTID-XXXXXX with a lock file beside it: libostree's form, so that it knows what
// to do with one that a killed process left behind (adopt it on the same boot, remove it after another). Files in it have their
// final name only when they are complete, which is what makes adopting them right.
type stagingDir struct {
	fd, tmp int // the directory and REPO/tmp
	name    string
	lock    int
	known   [256]atomic.Bool
}

func bootID() (string, error) {
	if id := os.Getenv("OSTREE_BOOTID"); id != "" { // as libostree does, for its tests
		return id, nil
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id)), err
}

// openStaging adopts a staging directory of this boot that nobody holds, or makes one. It returns what was in it.
func openStaging(repo *ostree.Repo) (*stagingDir, []Object, error) {
	tmp, err := unix.Openat(repo.FD(), "tmp", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, &os.PathError{Op: "open", Path: repo.Path() + "/tmp", Err: err}
	}
	s, found, err := acquireStaging(tmp)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("repository %s: staging directory: %w", repo.Path(), err), unix.Close(tmp))
	}
	return s, found, nil
}

func acquireStaging(tmp int) (*stagingDir, []Object, error) {
	id, err := bootID()
	if err != nil {
		return nil, nil, err
	}
	prefix := "staging-" + id + "-"
	names, err := dirnames.List(tmp, ".")
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) || strings.HasSuffix(name, "-lock") {
			continue
		}
		s, err := lockStaging(tmp, name)
		if err != nil {
			return nil, nil, err
		}
		if s == nil {
			continue
		}
		found, err := s.contents()
		if err != nil {
			return nil, nil, errors.Join(err, s.release())
		}
		return s, found, nil
	}
	for range 100 {
		name := prefix + randomSuffix()
		if err := unix.Mkdirat(tmp, name, 0o700); errors.Is(err, unix.EEXIST) {
			continue
		} else if err != nil {
			return nil, nil, err
		}
		s, err := lockStaging(tmp, name)
		if err != nil {
			return nil, nil, err
		}
		if s != nil { // else somebody adopted it within this moment
			return s, nil, nil
		}
	}
	return nil, nil, errors.New("no free name")
}

// randomSuffix is six letters, as mkdtemp makes them.
func randomSuffix() string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	var b [6]byte
	if _, err := unix.Getrandom(b[:], 0); err != nil {
		panic(err) // cannot fail for 6 bytes on a booted system
	}
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b[:])
}

// lockStaging takes the lock of a staging directory. It returns nil if another process has it or the directory is gone.
func lockStaging(tmp int, name string) (*stagingDir, error) {
	lock, err := unix.Openat(tmp, name+"-lock", unix.O_CREAT|unix.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o660)
	if err != nil {
		return nil, err
	}
	fl := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(uintptr(lock), unix.F_OFD_SETLK, &fl); err != nil {
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = nil
		}
		return nil, errors.Join(err, unix.Close(lock))
	}
	s := &stagingDir{tmp: tmp, name: name, lock: lock}
	// A holder that let go has removed the lock file: make sure that the one we hold is the one others will see.
	var held, seen unix.Stat_t
	err = errors.Join(unix.Fstat(lock, &held), unix.Fstatat(tmp, name+"-lock", &seen, unix.AT_SYMLINK_NOFOLLOW))
	if err != nil || held.Ino != seen.Ino {
		return nil, unix.Close(lock)
	}
	s.fd, err = unix.Openat(tmp, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil, errors.Join(unix.Unlinkat(tmp, name+"-lock", 0), unix.Close(lock))
	} else if err != nil {
		return nil, errors.Join(err, unix.Close(lock))
	}
	return s, nil
}

// contents lists the complete objects in an adopted directory, and removes commits and anything else.
func (s *stagingDir) contents() ([]Object, error) {
	subdirs, err := dirnames.List(s.fd, ".")
	if err != nil {
		return nil, err
	}
	var found []Object
	for _, xx := range subdirs {
		if len(xx) != 2 {
			if err := unix.Unlinkat(s.fd, xx, 0); err != nil && !errors.Is(err, unix.EISDIR) {
				return nil, err
			}
			continue
		}
		names, err := dirnames.List(s.fd, xx)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			rest, suffix, _ := strings.Cut(name, ".")
			sum, err := object.ParseChecksum(xx + rest)
			if err != nil {
				continue
			}
			if suffix == "commit" { // what it needs may have been pruned since; it is quickly made again
				if err := unix.Unlinkat(s.fd, xx+"/"+name, 0); err != nil {
					return nil, err
				}
				continue
			}
			for typ, ending := range suffixes {
				if ending == "."+suffix {
					found = append(found, Object{sum, typ})
				}
			}
		}
	}
	return found, nil
}

// ensure makes the subdirectory for objects whose checksum begins with xx.
func (s *stagingDir) ensure(xx byte) error { return ensureDir(s.fd, xx, &s.known) }

// close removes the directory with what was not published, then the lock.
func (s *stagingDir) close() error {
	err := removeTree(s.tmp, s.name)
	return errors.Join(err, unix.Unlinkat(s.tmp, s.name+"-lock", 0), s.release(), unix.Close(s.tmp))
}

func (s *stagingDir) release() error { return errors.Join(unix.Close(s.fd), unix.Close(s.lock)) }

// removeTree removes a directory of at most two levels, which is all a staging directory has.
func removeTree(dir int, name string) error {
	root, err := unix.Openat(dir, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(root)
	subdirs, err := dirnames.List(root, ".")
	if err != nil {
		return err
	}
	for _, sub := range subdirs {
		if err := unix.Unlinkat(root, sub, 0); err == nil {
			continue
		}
		names, err := dirnames.List(root, sub)
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := unix.Unlinkat(root, sub+"/"+n, 0); err != nil {
				return &os.PathError{Op: "unlink", Path: n, Err: err}
			}
		}
		if err := unix.Unlinkat(root, sub, unix.AT_REMOVEDIR); err != nil {
			return &os.PathError{Op: "rmdir", Path: sub, Err: err}
		}
	}
	if err := unix.Unlinkat(dir, name, unix.AT_REMOVEDIR); err != nil {
		return &os.PathError{Op: "rmdir", Path: name, Err: err}
	}
	return nil
}
