package host

import (
	"context"
	"errors"
	"io/fs"
	"path"

	"github.com/ostree-container/ostree-container/ostree"
)

// boundDir is where an image names the application images that bootc keeps with it (its document "Logically bound images").
const boundDir = "usr/lib/bootc/bound-images.d"

// boundImages returns the paths of what names bound images in a commit, relative to its root.
func boundImages(ctx context.Context, repo *ostree.Repo, commit string) (list []string, err error) {
	tree, err := repo.FS(ctx, commit)
	if err != nil {
		return nil, err
	}
	entries, err := tree.ReadDir(boundDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	for _, e := range entries {
		list = append(list, path.Join(boundDir, e.Name()))
	}
	return list, nil
}
