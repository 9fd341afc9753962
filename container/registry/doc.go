// Package registry opens container images and gives out their manifest,
// configuration and layers, each verified. It is the only package here that
// imports github.com/containers/image.
//
// [Open] does, in this order: find the signature policy, and refuse one that
// accepts anything where a signature was asked for; connect; evaluate the policy
// on what the reference names (the index, where there is one); choose the
// instance for the platform; fetch its manifest and configuration. Digest and size of
// everything are checked before it is used. [Image.Blob] streams a layer, and
// reports io.EOF only after digest and size were found right.
//
// [Push] writes the image of an OCI layout directory to any transport that can be written.
//
// # Transports
//
// docker:// (registry:), oci:, oci-archive:, docker-archive:, dir:, docker-daemon: and, in
// programs built with the tag containers_storage, containers-storage: can be read.
// docker-archive: and docker-daemon: have no manifest of their own: containers/image makes
// one, with the decompressed layers, which it labels gzip (look at the bytes, not at the
// label). A containers-storage has the image's manifest, but its layers decompressed: see
// [Layer]. It is not written to, except for its lock files; one that does not exist is not made.
// A program that writes to a containers-storage calls [ReexecInit] first.
//
// # Encryption
//
// Layers that were encrypted as ocicrypt does are decrypted by [Image.Blob] with the first of [Options].DecryptionKeys that fits; the
// digest is that of the encrypted blob, and is compared before io.EOF as ever. What comes out is as good as its diff_id: compare that.
//
// # Authentication
//
// As in ostree-rs-ext: the first of ostree's own auth.json files that exists, or no
// credentials at all; not those of podman or docker, unless asked for
// ([AuthDefault]). [Push] is the other way round: see [AuthAuto].
//
// # Errors
//
// Errors about images are of type [*Error]; they keep the status and the text that
// a registry answered with, and wrap the sentinels of this package. Passwords,
// tokens and the query strings of signed URLs are taken out of the texts. A
// cancelled context gives an error that wraps context.Cause and its Err.
//
// # Retries and stalls
//
// What may pass (5xx, 429, a reset or dropped connection, a stall) is tried again, see
// [Retry]. No byte for [Options.StallTimeout] is a stall.
package registry
