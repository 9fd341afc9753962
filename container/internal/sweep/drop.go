package sweep

import (
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
	gone := &marker{objects: objects, reached: map[object.Checksum]kinds{}}
	stays := &marker{objects: objects, reached: map[object.Checksum]kinds{}}
	stored, err := storedCommits(ctx, objects)
	if err != nil {
		return ostree.PruneStats{}, err
	}
	for _, c := range stored {
		m := stays
		if slices.Contains(commits, c) {
			m = gone
		}
		if err := m.commit(ctx, repo, c); err != nil {
			return ostree.PruneStats{}, err
		}
	}
	s := &sweeper{repo: repo, objects: objects}
	content := ".file"
	if archive {
		content = ".filez"
	}
	var rest []unreached
	for sum, have := range gone.reached {
		only := have &^ stays.reached[sum]
		for kind, ending := range map[kinds]string{commit: ".commit", dirTree: ".dirtree", dirMeta: ".dirmeta", file: content} {
			if only&kind == 0 {
				continue
			}
			hex := sum.String()
			o, err := s.find(hex[:2] + "/" + hex[2:] + ending)
			if err != nil {
				return s.stats, err
			}
			if kind != commit {
				rest = append(rest, o)
			} else if err := s.removeCommit(o, sum); err != nil { // first, as in sweep
				return s.stats, err
			}
		}
	}
	slices.SortFunc(rest, func(a, b unreached) int { return strings.Compare(a.name, b.name) }) // a directory at a time
	return s.stats, s.removeAll(ctx, rest)
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
