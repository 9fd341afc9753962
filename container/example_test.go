package container_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/ostree"
)

// Pull an image into a repository, with progress and a typed error.
func ExampleImporter() {
	ctx := context.Background()
	repo, err := ostree.OpenRepo(ctx, "/ostree/repo")
	if err != nil {
		log.Fatal(err)
	}
	defer repo.Close()
	ref, err := imageref.ParseOSTree("ostree-unverified-registry:quay.io/example/os:latest")
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
	fmt.Println(state.MergeCommit)
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
