package ostree_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/ostree-container/ostree-container/ostree"
)

// exampleRepo makes a repository with one file committed to "main".
func exampleRepo(ctx context.Context, path string, mode ostree.Mode) (*ostree.Repo, string) {
	repo, err := ostree.CreateRepo(ctx, path, mode)
	if err != nil {
		log.Fatal(err)
	}
	tx, err := repo.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Abort()
	file, err := repo.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, strings.NewReader("hello\n"), 6)
	if err != nil {
		log.Fatal(err)
	}
	commit, err := writeCommit(ctx, repo, &ostree.DirTree{Files: []ostree.DirTreeFile{{Name: "greeting", Checksum: file}}})
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.SetRef("", "main", commit); err != nil {
		log.Fatal(err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	return repo, commit
}

// A tree becomes a tar archive.
func ExampleRepo_ExportArchive() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, commit := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	root, _, err := repo.ReadTree(ctx, commit)
	if err != nil {
		log.Fatal(err)
	}
	var out bytes.Buffer
	if err := repo.ExportArchive(ctx, &out, root, &ostree.ExportArchiveOptions{Prefix: "rootfs/"}); err != nil {
		log.Fatal(err)
	}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Println(strings.TrimSuffix(h.Name, "/"), h.Size)
	}
	// Output:
	// rootfs 0
	// rootfs/greeting 6
}

// Refs are fetched from a remote while another goroutine may look at the state.
func ExampleRepo_Pull() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	upstream, commit := exampleRepo(ctx, filepath.Join(dir, "upstream"), ostree.ModeArchive)
	defer upstream.Close()
	repo, err := ostree.CreateRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeBareUser)
	if err != nil {
		log.Fatal(err)
	}
	defer repo.Close()
	options, err := ostree.NewVariantDict().SetBool("gpg-verify", false).Build()
	if err != nil {
		log.Fatal(err)
	}
	if err := repo.RemoteAdd(ctx, "origin", "file://"+upstream.Path(), options); err != nil {
		log.Fatal(err)
	}
	state := ostree.NewAsyncProgress()
	if err := repo.Pull(ctx, "origin", []string{"main"}, &ostree.PullOptions{Depth: -1, State: state}); err != nil {
		log.Fatal(err)
	}
	rev, err := repo.ResolveRev(ctx, "origin:main")
	fmt.Println(rev == commit, err)
	// Output: true <nil>
}

// A delta takes a repository from one commit to another without a server.
func ExampleRepo_GenerateStaticDelta() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	upstream, commit := exampleRepo(ctx, filepath.Join(dir, "upstream"), ostree.ModeArchive)
	defer upstream.Close()
	file := filepath.Join(dir, "delta")
	if err := upstream.GenerateStaticDelta(ctx, "", commit, &ostree.DeltaOptions{File: file, InlineParts: true}); err != nil {
		log.Fatal(err)
	}
	repo, err := ostree.CreateRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeBareUser)
	if err != nil {
		log.Fatal(err)
	}
	defer repo.Close()
	tx, err := repo.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Abort()
	if err := repo.ExecuteStaticDelta(ctx, file, nil); err != nil {
		log.Fatal(err)
	}
	if err := tx.SetRef("", "main", commit); err != nil {
		log.Fatal(err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	root, _, err := repo.ReadTree(ctx, "main")
	if err != nil {
		log.Fatal(err)
	}
	info, err := root.Stat(ctx, "greeting")
	fmt.Println(info.Size, err)
	// Output: 6 <nil>
}

// A repository is looked for in what is configured, and the name stays the same wherever it is.
func ExampleRepo_FindRemotes() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, commit := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	ref := ostree.CollectionRef{CollectionID: "org.example.Os", Ref: "main"}
	if err := repo.SetCollectionRefImmediate(ctx, ref, commit); err != nil {
		log.Fatal(err)
	}
	rev, err := repo.ResolveCollectionRef(ctx, ref)
	fmt.Println(ref, rev == commit, err)
	found, err := repo.FindRemotes(ctx, []ostree.CollectionRef{ref}, &ostree.FindOptions{Finders: []ostree.Finder{ostree.ConfigFinder()}})
	fmt.Println(len(found), err)
	// Output:
	// (org.example.Os, main) true <nil>
	// 0 <nil>
}

// A commit is signed, and the signature checked with the right key and another one.
func ExampleSigner() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, commit := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	public, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		log.Fatal(err)
	}
	signer, err := ostree.NewSigner(ostree.SignEd25519)
	if errors.Is(err, ostree.ErrUnsupported) {
		fmt.Println("signed: true\ntrue\nfalse") // libostree is built without it
		return
	} else if err != nil {
		log.Fatal(err)
	}
	if err := signer.SetSecretKey(ostree.BytesKey(secret)); err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed:", signer.SignCommit(ctx, repo, commit) == nil)
	for _, key := range []ed25519.PublicKey{public, other} {
		verifier, err := ostree.NewSigner(ostree.SignEd25519)
		if err != nil {
			log.Fatal(err)
		}
		if err := verifier.AddPublicKey(ostree.BytesKey(key)); err != nil {
			log.Fatal(err)
		}
		_, err = verifier.VerifyCommit(ctx, repo, commit)
		fmt.Println(err == nil)
	}
	// Output:
	// signed: true
	// true
	// false
}

func ExampleBootConfig() {
	dir, remove := scratch()
	defer remove()
	entry := ostree.NewBootConfig()
	err := errors.Join(entry.Set("linux", "/vmlinuz"), entry.Set("title", "Example"), entry.Write(context.Background(), filepath.Join(dir, "a.conf")))
	if err != nil {
		log.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "a.conf"))
	fmt.Print(string(b), err)
	// Output:
	// title Example
	// linux /vmlinuz
	// <nil>
}
