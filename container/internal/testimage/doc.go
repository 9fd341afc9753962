// Package testimage makes container images for tests: tar streams from lists
// of members, OCI layouts from lists of layers, a registry with faults that
// serves them over HTTP, ostree-native base images, and random layer stacks.
//
// Everything is deterministic: the same input gives the same bytes, so the
// same digests. Nothing here uses the code under test. The tar writer is our
// own and small because tests need streams that archive/tar refuses to write:
// absolute names, names that are not UTF-8, lying sizes, wrong checksums,
// truncated and damaged members.
//
// The quickest use:
//
//	img := testimage.Image{Layers: []testimage.Layer{{Members: []testimage.Member{
//		testimage.Dir("usr", 0o755),
//		testimage.File("usr/hello", 0o644, "world"),
//	}}}}
//	w := img.Write(t, t.TempDir(), "latest") // w.Ref is "oci:DIR:latest"
//
// Functions that take a testing.TB fail the test; those that return an error
// do not.
package testimage
