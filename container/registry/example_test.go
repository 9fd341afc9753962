package registry_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	layer := testimage.Layer{Members: []testimage.Member{testimage.File("usr/hello", 0o644, "world")}}
	if _, err := (testimage.Image{Layers: []testimage.Layer{layer}, Architecture: "amd64"}).WriteOCI(dir, "v1"); err != nil {
		fmt.Println(err)
		return
	}

	ref, err := imageref.ParseOSTree("ostree-unverified-image:oci:" + dir + ":v1")
	if err != nil {
		fmt.Println(err)
		return
	}
	img, err := registry.Open(context.Background(), ref, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer img.Close()
	fmt.Println(img.Config.Architecture)
	for n, l := range img.Layers {
		blob, err := img.Blob(context.Background(), n)
		if err != nil {
			fmt.Println(err)
			return
		}
		size, err := io.Copy(io.Discard, blob) // no error: digest and size were right
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(l.MediaType, size == l.Descriptor.Size)
		if err := blob.Close(); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// amd64
	// application/vnd.oci.image.layer.v1.tar+gzip true
}
