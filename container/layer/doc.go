// Package layer turns a derived layer of a container image, a tar stream, into objects of an OSTree repository and the directory
// tree of a layer commit.
//
// Entries are normalised by the rules that OSTree hosts need (/etc becomes /usr/etc, API file systems keep only their mount points,
// what is outside /usr is dropped unless the host can hold it), whiteouts stay ordinary files that the merge reads later, and
// nothing in the stream is ever used as a path of a file system: content becomes objects named by checksum, names become strings in
// directory trees.
//
// It is a part of package container, in a place of its own to be read and tested. Its functions take types of internal packages, so
// programs call container; from here they need the errors and types that come through it, such as EntryError and ErrLimit.
//
// Rules: ostree-rs-ext src/tar/write.rs and the OCI image specification, "Image Layer Filesystem Changeset".
package layer
