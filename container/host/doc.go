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
// A caller that holds the lock itself gets ostree.ErrLocked.
//
// # Basics
//
// The caller loads the sysroot (ostree.Sysroot.Load) and closes it; only one goroutine uses it at a time. After a change
// deployments that were got before are of the past: ask the sysroot again.
//
// On a booted host /sysroot is mounted read-only. A program that changes it calls ostree.ReexecInMountNamespace first of all in main, and
// Sysroot.InitializeWithMountNamespace before Load.
package host
