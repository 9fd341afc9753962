package ostree_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ostree-container/ostree-container/ostree"
)

// What a commit says about itself.
func ExampleCommit() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, _ := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	rev, err := repo.ResolveRev(ctx, "main")
	if err != nil {
		log.Fatal(err)
	}
	commit, state, err := repo.LoadCommit(ctx, rev)
	if err != nil {
		log.Fatal(err)
	}
	version, ok, err := commit.MetadataString("version")
	fmt.Printf("%v %v parent %q version %q %v %v\n", commit.Timestamp, state == ostree.CommitNormal, commit.Parent, version, ok, err)
	// Output: 2023-11-14 22:13:20 +0000 UTC true parent "" version "" false <nil>
}

// Directories of a commit, as objects.
func ExampleTree() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, _ := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	root, _, err := repo.ReadTree(ctx, "main")
	if err != nil {
		log.Fatal(err)
	}
	info, err := root.Stat(ctx, "greeting")
	fmt.Printf("%#o %d bytes %v\n", info.Mode, info.Size, err)
	_, err = root.Descend(ctx, "usr/bin")
	fmt.Println(errors.Is(err, ostree.ErrNotFound))
	// Output:
	// 0100644 6 bytes <nil>
	// true
}

// What was changed in a checkout.
func ExampleDiffDirs() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, commit := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	out := filepath.Join(dir, "out")
	if err := repo.CheckoutAt(ctx, ostree.AtCWD, out, commit, &ostree.CheckoutOptions{Mode: ostree.CheckoutUser}); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "mine"), nil, 0o644); err != nil {
		log.Fatal(err)
	}
	root, _, err := repo.ReadTree(ctx, commit)
	if err != nil {
		log.Fatal(err)
	}
	owner := uint32(0) // the checkout belongs to the caller
	diff, err := ostree.DiffDirs(ctx, ostree.DiffDir{Tree: root}, ostree.DiffDir{Path: out},
		&ostree.DiffOptions{IgnoreXattrs: true, OwnerUID: &owner, OwnerGID: &owner})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(diff.Added, diff.Removed, len(diff.Modified))
	// Output: [/mine] [] 0
}

// Objects that a commit needs, for copying or pruning.
func ExampleReachableSet() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, commit := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	set, err := repo.TraverseCommit(ctx, commit, -1)
	if err != nil {
		log.Fatal(err)
	}
	var types []string
	for _, o := range set.Objects() {
		types = append(types, o.Type.String())
	}
	slices.Sort(types)
	fmt.Println(set.Len(), types)
	// Output: 4 [commit dirmeta dirtree file]
}

// Typed values, read without a look at the type first.
func ExampleVariant() {
	v, err := ostree.ParseVariant("a{sv}", "{'version': <'41'>, 'build': <uint64 7>}")
	if err != nil {
		log.Fatal(err)
	}
	version, ok, err := v.LookupString("version")
	fmt.Println(version, ok, err)
	_, _, err = v.LookupString("build")
	fmt.Println(errors.Is(err, ostree.ErrVariantType))
	// Output:
	// 41 true <nil>
	// true
}

// Several values are set at once, and seen by whoever looks.
func ExampleAsyncProgress() {
	p := ostree.NewAsyncProgress()
	if err := p.SetAll(map[string]*ostree.Variant{"fetched": ostree.NewUint32Variant(3), "requested": ostree.NewUint32Variant(12)}); err != nil {
		log.Fatal(err)
	}
	if err := p.SetStatus("Receiving objects"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(p.Status(), p.Uint("fetched"), p.Uint("requested"))
	// Output: Receiving objects 3 12
}

// A deployment that is not in the sysroot, to find paths.
func ExampleDeployment() {
	dir, remove := scratch()
	defer remove()
	sysroot, err := ostree.NewSysroot(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer sysroot.Close()
	d, err := sysroot.NewDeployment(ostree.DeploymentName{Stateroot: "default", Checksum: strings.Repeat("ab", 32), BootSerial: -1, Index: -1})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Path()[:28], d.IsStaged(), d.BootEntry() == nil)
	// Output: ostree/deploy/default/deploy false true
}

// A tree without SELinux has no policy.
func ExampleSePolicy() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	policy, err := ostree.NewSePolicy(ctx, dir)
	if err != nil {
		log.Fatal(err)
	}
	defer policy.Close()
	label, err := policy.Label(ctx, "/usr/bin/sh", 0o100755)
	fmt.Printf("%q %q %v\n", policy.Name(), label, err)
	// Output: "" "" <nil>
}

// A lock keeps other processes from pruning meanwhile.
func ExampleRepoLock() {
	dir, remove := scratch()
	defer remove()
	ctx := context.Background()
	repo, _ := exampleRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	defer repo.Close()
	lock, err := repo.Lock(ctx, ostree.LockShared)
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Unlock()
	fmt.Println(lock.Unlock(), lock.Unlock())
	// Output: <nil> <nil>
}
