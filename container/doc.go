// Package container turns container images into OSTree commits and deploys them.
//
// An Importer brings an image into a repository: every layer becomes a commit of its own, the merge commit over all of them is
// what a host boots. Deploy makes a deployment of it; Prune removes what is no longer used. A repository is shared with
// ostree-rs-ext, bootc and rpm-ostree: each side reads, updates and prunes what the other wrote.
//
// # Refs
//
//	ostree/container/blob/DIGEST        the commit of one layer, by the digest of its blob
//	ostree/container/image/IMGREF       the merge commit of an image
//	ostree/container/baseimage/...      commits that others want kept; their layers are never collected
//
// DIGEST and IMGREF are escaped by imageref.EscapeRef.
//
// # Metadata of a merge commit
//
//	ostree.manifest-digest              s, digest of the manifest's original bytes
//	ostree.manifest                     s, the manifest as OCI, canonical JSON
//	ostree.container.image-config       s, the config as OCI, canonical JSON
//	ostree.importer.version             s
//	ostree.tar-filtered                 a{sa{su}}, by layer digest: what could not be stored, with counts
//
// The commit of a derived layer carries ostree.importer.version, ostree.tar-filtered (a{su}) and ostree-container.diff-id (s). The
// commit of an object set carries nothing, as the reference has it. The same bytes always give the same commits.
//
// With SELinux the files of a derived layer get the labels of the image that was imported last. Its commit then has
// ostree-container.labelled-by (s), which names the policy: the checksum of the dirtree of the policy's directory.
//
// # Concurrency
//
// An Importer is for one goroutine; several may import into one repository at once, in one process or in several. A shared lock of
// the repository is held while importing, so that a prune waits. Whatever changes a sysroot takes its lock.
//
// Locks that are taken through one ostree.Repo nest: they never exclude each other. All callers of sysroot.Repo() share one Repo. Prune and
// GCImageLayers lock through a handle of their own, so they wait for imports whatever Repo those use; libostree's own prunes do not. So:
// a goroutine that imports or copies beside prunes should have a Repo of its own (ostree.OpenRepo), and a caller of Prune or GCImageLayers
// must hold no lock of the repository.
//
// # A booted host
//
// There /sysroot is mounted read-only. A program that deploys or prunes calls ostree.ReexecInMountNamespace first of all in main, and
// Sysroot.InitializeWithMountNamespace before Load.
package container
