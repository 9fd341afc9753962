// Package imageref parses and prints references to container images: the
// transport and name of an image ([ImageReference]), the same with a rule for
// checking its signature ([OSTreeImageReference]), and the escaping that turns
// such text into an ostree ref ([EscapeRef]). It does no I/O.
//
// The texts are those of ostree-rs-ext (types ImageReference and
// OstreeImageReference, modules container and refescape) and of
// containers-image-proxy, so that references in origin files and in
// repositories are understood by either side:
//
//	docker://quay.io/example/os:latest                        ImageReference
//	registry:quay.io/example/os:latest                        the same image
//	oci:/srv/layout:v2                                        ImageReference
//	ostree-image-signed:docker://quay.io/example/os           OSTreeImageReference
//	ostree-unverified-registry:quay.io/example/os             OSTreeImageReference
//	ostree-remote-image:fedora:docker://quay.io/example/os    OSTreeImageReference
//
// # Caveats
//
// Names are not checked beyond being there: whether "docker://NAME" holds a
// valid docker reference is found when the image is opened.
//
// [OSTreeImageReference.Short] leaves out the scheme of an unverified registry
// image and can then not be parsed back by [ParseOSTree].
package imageref
