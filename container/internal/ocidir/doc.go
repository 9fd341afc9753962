// Package ocidir writes images into directories in OCI image layout: blobs, and the index that names the images. It looks at
// nothing but digests; what is in a blob is for the caller.
//
// A blob has no name before it is complete, and index.json is replaced as a whole when everything it names is on disk: whoever
// is killed in between leaves the directory as it was, with blobs that nothing names at worst.
//
// Source: OCI image-spec 1.1, image-layout.md.
package ocidir
