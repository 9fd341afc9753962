package sweep

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ostree-container/ostree-container/container/internal/dirnames"
	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/ostree"
)

// Drop deletes commits (64 hex digits each) that no ref names, and the objects that only they need. All other commits of the repository
// count, whether a ref names them or not, and so does every object that none of the given commits needs. A commit that is not there is
// passed over. The caller holds the repository's exclusive lock.
func Drop(ctx context.Context, repo *ostree.Repo, commits []string) (ostree.PruneStats, error) {
	archive := repo.Mode() == ostree.ModeArchive
	if err := plain(repo, archive); err != nil {
		return ostree.PruneStats{}, err
	}
	objects, err := unix.Openat(repo.FD(), "objects", unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ostree.PruneStats{}, &os.PathError{Op: "open", Path: repo.Path() + "/objects", Err: err}
	}
	defer unix.Close(objects)
	stored, err := storedCommits(ctx, objects)
	if err != nil {
		return ostree.PruneStats{}, err
	}
	gone := &marker{objects: objects, reached: map[object.Checksum]kinds{}}
	stays := &marker{objects: objects, reached: map[object.Checksum]kinds{}, among: gone.reached}
	for _, pass := range []struct {
		m     *marker
		given bool
	}{{gone, true}, {stays, false}} {
		for _, c := range stored {
			if slices.Contains(commits, c) != pass.given {
				continue
			}
			if err := pass.m.commit(ctx, repo, c); err != nil {
				return ostree.PruneStats{}, err
			}
		}
	}
	s := &sweeper{repo: repo, objects: objects}
	err = s.drop(ctx, only(gone.reached, stays.reached), archive)
	return s.stats, err
}

// id is an object.
type id struct {
	sum  object.Checksum
	kind kinds
}

// only lists what is in gone and not in stays, commits first, as in sweep, and then a directory at a time.
func only(gone, stays map[object.Checksum]kinds) []id {
	var list []id
	for sum, have := range gone {
		for kind := file; kind <= commit; kind <<= 1 {
			if have&^stays[sum]&kind != 0 {
				list = append(list, id{sum, kind})
			}
		}
	}
	slices.SortFunc(list, func(a, b id) int {
		if (a.kind == commit) != (b.kind == commit) {
			return cmp.Compare(b.kind, a.kind)
		}
		return cmp.Or(bytes.Compare(a.sum[:], b.sum[:]), cmp.Compare(a.kind, b.kind))
	})
	return list
}

func (s *sweeper) drop(ctx context.Context, list []id, archive bool) error {
	names := map[kinds]string{}
	for ending, kind := range endings {
		names[kind] = "." + ending
	}
	if archive {
		names[file] = ".filez"
	}
	for n, o := range list {
		if n%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		hex := o.sum.String()
		found, err := s.find(hex[:2] + "/" + hex[2:] + names[o.kind])
		if err != nil {
			return err
		}
		if o.kind == commit {
			err = s.removeCommit(found, o.sum)
		} else {
			err = s.remove(found)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// storedCommits lists the commits of a repository.
func storedCommits(ctx context.Context, objects int) ([]string, error) {
	var commits []string
	for n := range 256 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		xx := fmt.Sprintf("%02x", n)
		names, err := dirnames.List(objects, xx)
		if errors.Is(err, unix.ENOENT) {
			continue
		} else if err != nil {
			return nil, err
		}
		for _, name := range names {
			if stem, ok := strings.CutSuffix(name, ".commit"); ok {
				commits = append(commits, xx+stem)
			}
		}
	}
	return commits, nil
}
