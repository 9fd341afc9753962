package ostree_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ostree-container/ostree-container/ostree"
)

func scratch() (dir string, remove func()) {
	dir, err := os.MkdirTemp("", "ostree-example")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// Objects and a commit are written in a transaction, and read again.
func ExampleRepo() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, err := ostree.CreateRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	if err != nil {
		log.Fatal(err)
	}
	defer repo.Close()

	tx, err := repo.Begin(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer tx.Abort() // does nothing after Commit
	file, err := repo.WriteContent(ctx, "", ostree.FileInfo{Mode: 0o100644}, nil, strings.NewReader("hello\n"), 6)
	if err != nil {
		log.Fatal(err)
	}
	metadata, err := (&ostree.DirMeta{Mode: 0o40755}).Bytes()
	if err != nil {
		log.Fatal(err)
	}
	dirmeta, err := repo.WriteMetadata(ctx, ostree.ObjectDirMeta, "", metadata)
	if err != nil {
		log.Fatal(err)
	}
	tree := ostree.NewMutableTree()
	if err := errors.Join(tree.SetMetadataChecksum(dirmeta), tree.ReplaceFile("greeting", file)); err != nil {
		log.Fatal(err)
	}
	root, err := repo.WriteMTree(ctx, tree)
	if err != nil {
		log.Fatal(err)
	}
	commit, err := repo.WriteCommit(ctx, root, &ostree.CommitOptions{Subject: "First", Timestamp: time.Unix(0, 0)})
	if err != nil {
		log.Fatal(err)
	}
	if err := tx.SetRef("", "main", commit); err != nil {
		log.Fatal(err)
	}
	stats, err := tx.Commit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("new files:", stats.ContentObjectsWritten)

	rev, err := repo.ResolveRev(ctx, "main")
	if err != nil {
		log.Fatal(err)
	}
	c, _, err := repo.LoadCommit(ctx, rev)
	if err != nil {
		log.Fatal(err)
	}
	entry, err := repo.LookupPath(ctx, c.RootTree, "/greeting")
	if err != nil {
		log.Fatal(err)
	}
	f, err := repo.LoadFile(ctx, entry.Checksum)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	content, err := io.ReadAll(f)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %#o %s", c.Subject, f.Info.Mode, content)

	_, err = repo.ResolveRev(ctx, "other")
	fmt.Println(errors.Is(err, ostree.ErrNotFound), err)
	// Output:
	// new files: 1
	// First: 0100644 hello
	// true resolve rev other: Refspec 'other' not found
}

// A sysroot is made, locked and read.
func ExampleSysroot() {
	dir, remove := scratch()
	defer remove()
	if os.Getuid() != 0 {
		fmt.Println("stateroot ready, 0 deployments") // a sysroot's repository needs root
		return
	}
	ctx := context.Background()
	sysroot, err := ostree.NewSysroot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer sysroot.Close() // gives the lock back too
	if err := sysroot.EnsureInitialized(ctx); err != nil {
		log.Fatal(err)
	}
	if err := sysroot.Lock(ctx); err != nil {
		log.Fatal(err)
	}
	if err := sysroot.Load(ctx); err != nil {
		log.Fatal(err)
	}
	if err := sysroot.InitOSName(ctx, "default"); err != nil && !errors.Is(err, ostree.ErrExists) {
		log.Fatal(err)
	}
	fmt.Println("stateroot ready,", len(sysroot.Deployments()), "deployments")
	// Output: stateroot ready, 0 deployments
}

// Equal contents give equal bytes, whatever the order of the calls.
func ExampleVariantDict() {
	v, err := ostree.NewVariantDict().
		SetString("version", "1.0").
		SetStrv("layers", []string{"a", "b"}).
		SetUint64("bytes", 1<<40).
		Build()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(v)
	version, ok, err := v.LookupString("version")
	fmt.Println(version, ok, err)
	_, _, err = v.LookupString("bytes")
	fmt.Println(err)
	// Output:
	// {'bytes': <uint64 1099511627776>, 'layers': <['a', 'b']>, 'version': <'1.0'>}
	// 1.0 true <nil>
	// key "bytes": wrong variant type: want "s", found "t"
}

func ExampleKernelArgs() {
	args := ostree.ParseKernelArgs("root=LABEL=old quiet console=tty0")
	err := errors.Join(
		args.Replace("root=LABEL=new"),
		args.Append("console=ttyS0"),
		args.DeleteIfPresent("quiet"),
	)
	fmt.Println(args, err)
	// Output: root=LABEL=new console=tty0 console=ttyS0 <nil>
}

func ExampleSupports() {
	sysroot, err := ostree.NewSysroot("/nowhere")
	if err != nil {
		log.Fatal(err)
	}
	defer sysroot.Close()
	if !ostree.Supports(ostree.FeatureUpdatePostCopy) {
		err = sysroot.UpdatePostCopy(context.Background())
		fmt.Println(errors.Is(err, errors.ErrUnsupported))
	} else {
		fmt.Println(true)
	}
	// Output: true
}
