package container_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// Pull an image into a repository, with progress and a typed error. On a host the repository is that of the sysroot, opened with
// ostree.OpenRepo(ctx, "/ostree/repo"), and the image is in a registry: "ostree-unverified-registry:quay.io/example/os:latest".
func ExampleImporter() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	repo, err := ostree.CreateRepo(ctx, filepath.Join(dir, "repo"), ostree.ModeArchive)
	if err != nil {
		log.Fatal(err)
	}
	defer repo.Close()
	ref, err := imageref.ParseOSTree("ostree-unverified-image:oci:testdata/image:v1")
	if err != nil {
		log.Fatal(err)
	}
	imp, err := container.NewImporter(repo, ref, &container.ImporterOptions{
		Progress: func(e container.Event) {
			if done, ok := e.(container.LayerDone); ok {
				fmt.Printf("%d/%d %s\n", done.N, done.Total, done.Layer.Descriptor.Digest)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer imp.Close()
	found, err := imp.Prepare(ctx)
	if err != nil {
		log.Fatal(err)
	}
	state := found.AlreadyPresent
	if state == nil {
		state, err = imp.Import(ctx, found.Ready)
	}
	var bad *container.LayerError
	if errors.As(err, &bad) {
		log.Fatalf("layer %d of %d is bad, at %q: %v", bad.Index, bad.Total, bad.Entry, bad.Err)
	} else if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("version %s, %s, is now a commit: %t\n", state.Version(), state.ManifestDigest, state.MergeCommit != "")
	// Output:
	// 1/1 sha256:c5fe925a85fc7c5c5154d6ae665b92665eb4e255c73e5864fc0629d4dd55fa87
	// version 1, sha256:41cd02d4f65041916b0d726aee0c800973206cfc2500fa7bcfc98c6abff62359, is now a commit: true
}

// Deploy an image to a sysroot that an installer has prepared.
func ExampleDeploy() {
	ctx := context.Background()
	sysroot, err := ostree.NewSysroot("/mnt/target")
	if err != nil {
		log.Fatal(err)
	}
	defer sysroot.Close()
	if err := sysroot.Load(ctx); err != nil {
		log.Fatal(err)
	}
	source, err := imageref.ParseOSTree("ostree-unverified-image:oci:/media/usb/os:v1")
	if err != nil {
		log.Fatal(err)
	}
	follow, err := imageref.ParseOSTree("ostree-image-signed:docker://quay.io/example/os:latest")
	if err != nil {
		log.Fatal(err)
	}
	state, err := container.Deploy(ctx, sysroot, container.StaterootDefault, source, &container.DeployOptions{
		TargetImgref: &follow,
		Kargs:        []string{"root=LABEL=root", "rw"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("deployed", state.Version())
}
