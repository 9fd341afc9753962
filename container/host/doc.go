// Package host is what an administrator does with a host that boots container images: see what is deployed and what would be, follow
// the image of its origin, go back, keep and drop deployments.
//
// Importing and deploying is the business of package container; this package decides what is deployed next. A sysroot need not be the
// one that is booted: on others what would be staged is written at once.
//
// # Which image
//
// The image that is followed is that of the staged deployment, where something is staged, else of the booted one, else of the
// deployment that a new one takes its configuration from. Deployments of other stateroots do not count.
//
// # Locks
//
// Whatever changes the sysroot waits for its lock, as long as its context lasts, and holds it until it is done. Read does not.
package host
