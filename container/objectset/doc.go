// Package objectset reads the layers of an ostree-native image: tar streams in which every object of a commit is a member below
// /sysroot/ostree/repo/objects, in the form of a bare-split-xattrs repository.
//
// The first layer of such an image holds the commit and its metadata objects; each further one, a chunk, holds content objects. All
// other members are hardlinks that make the image usable as a container, and are not looked at.
//
// It is a part of package container, in a place of its own to be read and tested. Its functions take types of internal packages, so
// programs call container, whose ErrIncomplete is the one of this package.
//
// Source: ostree-rs-ext src/tar/import.rs; both forms of split xattrs (v0 and v1) are read.
package objectset
