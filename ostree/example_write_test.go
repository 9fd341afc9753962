package ostree_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/ostree"
)

// inTransaction runs fn in a transaction that is committed.
func inTransaction(ctx context.Context, repo *ostree.Repo, fn func(*ostree.Transaction) error) {
	tx, err := repo.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Abort()
	if err := fn(tx); err != nil {
		log.Fatal(err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		log.Fatal(err)
	}
}

// A transaction that is aborted leaves refs as they were.
func ExampleTransaction() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, commit := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()

	tx, err := repo.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Abort() // does nothing after Commit
	if err := tx.SetRef("", "other", commit); err != nil {
		log.Fatal(err)
	}
	if err := tx.Abort(); err != nil {
		log.Fatal(err)
	}
	refs, err := repo.ListRefs(ctx, "")
	fmt.Println(len(refs), err)

	inTransaction(ctx, repo, func(tx *ostree.Transaction) error { return tx.SetRef("", "other", commit) })
	refs, err = repo.ListRefs(ctx, "")
	fmt.Println(len(refs), err)
	// Output:
	// 1 <nil>
	// 2 <nil>
}

// A commit is changed without a checkout: only directories that change are read.
func ExampleMutableTree() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, _ := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	inTransaction(ctx, repo, func(tx *ostree.Transaction) error {
		tree, err := ostree.MutableTreeFromCommit(ctx, repo, "main")
		if err != nil {
			return err
		}
		file, err := repo.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, strings.NewReader("new\n"), 4)
		if err != nil {
			return err
		}
		docs, err := tree.EnsureDir("docs")
		if err != nil {
			return err
		}
		if err := docs.SetMetadataChecksum(tree.MetadataChecksum()); err != nil { // owner and mode as the root has them
			return err
		}
		if err := docs.ReplaceFile("readme", file); err != nil {
			return err
		}
		root, err := repo.WriteMTree(ctx, tree)
		if err != nil {
			return err
		}
		commit, err := repo.WriteCommit(ctx, root, &ostree.CommitOptions{Subject: "With docs"})
		if err != nil {
			return err
		}
		return tx.SetRef("", "main", commit)
	})
	c, err := repo.Diff(ctx, "", "main", nil)
	if err != nil {
		log.Fatal(err)
	}
	slices.Sort(c.Added)
	fmt.Println(c.Added)
	// Output: [/docs /docs/readme /greeting]
}

// A directory is committed with owners of its own, and without what is not to be there.
func ExampleCommitModifier() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, _ := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	src := filepath.Join(dir, "src")
	for _, name := range []string{"keep", "notes.bak"} {
		if err := os.MkdirAll(src, 0o755); err != nil {
			log.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(src, name), []byte(name), 0o600); err != nil {
			log.Fatal(err)
		}
	}
	modifier := &ostree.CommitModifier{
		Flags: ostree.ModifierSkipXattrs,
		Filter: func(path string, info *ostree.FileInfo) ostree.FilterResult {
			info.UID, info.GID = 0, 0
			if strings.HasSuffix(path, ".bak") {
				return ostree.FilterSkip
			}
			return ostree.FilterAllow
		},
	}
	inTransaction(ctx, repo, func(*ostree.Transaction) error {
		tree := ostree.NewMutableTree()
		if err := repo.WriteDirectoryToMTree(ctx, src, tree, modifier); err != nil {
			return err
		}
		files, err := tree.Files()
		if err != nil {
			return err
		}
		for name, checksum := range files {
			f, err := repo.LoadFile(ctx, checksum)
			if err != nil {
				return err
			}
			fmt.Printf("%s %d:%d %#o\n", name, f.Info.UID, f.Info.GID, f.Info.Mode)
			f.Close()
		}
		return nil
	})
	// Output: keep 0:0 0100600
}

// A file checked out as a hardlink is not read again when the directory is committed.
func ExampleDevInoCache() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, commit := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeBareUser)
	defer repo.Close()
	cache, out := ostree.NewDevInoCache(), filepath.Join(dir, "out")
	err := repo.CheckoutAt(ctx, ostree.AtCWD, out, commit, &ostree.CheckoutOptions{Mode: ostree.CheckoutUser, DevInoCache: cache})
	if err != nil {
		log.Fatal(err)
	}
	tx, err := repo.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Abort()
	modifier := &ostree.CommitModifier{Flags: ostree.ModifierDevInoCanonical, DevInoCache: cache}
	if err := repo.WriteDirectoryToMTree(ctx, out, ostree.NewMutableTree(), modifier); err != nil {
		log.Fatal(err)
	}
	stats, err := tx.Commit(ctx)
	fmt.Println(stats.DevInoCacheHits, err)
	// Output: 1 <nil>
}

// A file whose content comes piece by piece.
func ExampleContentWriter() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, commit := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeBareUser)
	defer repo.Close()
	inTransaction(ctx, repo, func(*ostree.Transaction) error {
		w, err := repo.WriteRegfile(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, 6)
		if err != nil {
			return err
		}
		defer w.Close()
		for _, piece := range []string{"hel", "lo\n"} {
			if _, err := w.Write([]byte(piece)); err != nil {
				return err
			}
		}
		checksum, err := w.Finish(ctx)
		if err != nil {
			return err
		}
		set, err := repo.TraverseCommit(ctx, commit, 0)
		if err != nil {
			return err
		}
		fmt.Println("an object of the commit:", set.Contains(ostree.ObjectName{Checksum: checksum, Type: ostree.ObjectFile}))
		return nil
	})
	// Output: an object of the commit: true
}

// A tar archive becomes a tree, its /etc where OSTree has it.
func ExampleRepo_WriteArchiveToMTree() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, _ := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "etc/motd", Mode: 0o644, Size: 3}); err != nil {
		log.Fatal(err)
	}
	if _, err := w.Write([]byte("hi\n")); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	inTransaction(ctx, repo, func(*ostree.Transaction) error {
		tree := ostree.NewMutableTree()
		opts := &ostree.ImportArchiveOptions{AutoCreateParents: true, OSTreeConvention: true}
		if err := repo.WriteArchiveToMTree(ctx, &archive, tree, nil, opts); err != nil {
			return err
		}
		etc, err := tree.Walk([]string{"usr", "etc"})
		if err != nil {
			return err
		}
		files, err := etc.Files()
		fmt.Println(len(files), files["motd"] != "")
		return err
	})
	// Output: 1 true
}
