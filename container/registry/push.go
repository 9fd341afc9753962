package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/daemon"
	"github.com/containers/image/v5/oci/layout"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	"github.com/docker/docker/client"
	"github.com/opencontainers/go-digest"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// PushOptions are the settings of Push. Nil and the zero value are the defaults.
type PushOptions struct {
	Access

	// StallTimeout is how long nothing may move before Push gives up; zero means
	// five minutes, negative for ever. (A registry may take its time to store a
	// large layer after the last byte.)
	StallTimeout time.Duration
	// Retry says how often to try again. What a registry has already is not
	// sent again.
	Retry Retry

	// Progress is told of each blob; calls come one at a time. nil means no reports.
	Progress func(PushProgress)
	// Logger is told of retries; nil means silence.
	Logger *slog.Logger
}

// String is for debugging and leaves out the password.
func (o PushOptions) String() string { return fieldsOf(o) }

// GoString is String.
func (o PushOptions) GoString() string { return o.String() }

// PushProgress is an event of Push.
type PushProgress struct {
	// Kind is what happened.
	Kind PushEvent
	// Digest and Size (bytes, -1 if unknown) are those of the blob: a layer, or
	// the configuration.
	Digest digest.Digest
	Size   int64
	// Done is how many bytes of it were read; of PushBytes and PushDone only.
	Done int64
}

// PushEvent is the kind of a PushProgress.
type PushEvent int

// The events of a blob: first PushStart, then any number of PushBytes, then
// PushDone; or only PushPresent. After a retry they come again.
const (
	// PushStart: sending begins.
	PushStart PushEvent = iota + 1
	// PushBytes: some was sent, reported a few times a second.
	PushBytes
	// PushDone: all was read; the destination may still be storing it.
	PushDone
	// PushPresent: the destination has the blob already.
	PushPresent
)

const pushStall = 5 * time.Minute

// options are those that Open would take.
func (o *PushOptions) options() *Options {
	opts := &Options{Access: o.Access, StallTimeout: o.StallTimeout, Retry: o.Retry, Logger: o.Logger}
	given := o.AuthFile != "" || o.Username != "" || o.Password != ""
	switch {
	case o.Auth == AuthAuto && !given:
		opts.Auth = AuthDefault
	case o.Auth == AuthDefault && given:
		opts.Auth = AuthAuto // those given are asked first in any case
	}
	if opts.StallTimeout == 0 {
		opts.StallTimeout = pushStall
	}
	return opts
}

// Push copies the image of an OCI layout directory, which must hold exactly one, to
// dest, and returns the digest of the manifest as dest has it. registry, oci, oci-archive
// and dir get manifest and layers byte for byte, so that it is the digest
// in the layout; docker-archive and docker-daemon take neither OCI manifests nor
// compressed layers and get a conversion.
//
// An "oci:" directory is made if it is missing (its parent must exist); with a tag the image is added
// to its index (and takes the tag from an older one), without it becomes the only one.
// The files of oci-archive and docker-archive and a new "dir:" appear under
// their names when they are complete.
//
// Errors are of type *Error and wrap, where it applies, ErrUnsupportedTransport,
// imageref.ErrInvalidReference, ErrConflictingAuth, ErrUnauthorized or fs.ErrNotExist.
func Push(ctx context.Context, ociDir string, dest imageref.ImageReference, opts *PushOptions) (digest.Digest, error) {
	if opts == nil {
		opts = &PushOptions{}
	}
	p := &push{PushOptions: *opts, dest: dest, redact: &redactor{}}
	op := "push image to " + dest.String()
	fail := func(err error, tries int) (digest.Digest, error) {
		return "", newError(ctx, op, err, tries, p.redact)
	}
	if err := ctx.Err(); err != nil {
		return fail(err, 0)
	}
	name, err := imageReference(dest)
	if err != nil {
		return fail(err, 0)
	}
	if err := checkLayout(dest); err != nil { // what is there already
		return fail(err, 0)
	}
	if p.src, err = layout.NewReference(ociDir, ""); err != nil {
		return fail(err, 0)
	}
	if _, err := layout.LoadManifestDescriptor(p.src); err != nil {
		return fail(fmt.Errorf("read %s: %w", ociDir, err), 0)
	}
	settings := opts.options()
	if p.sys, err = settings.system(); err != nil {
		return fail(err, 0)
	}
	p.sys.OCIAcceptUncompressedLayers = true
	p.redact = newRedactor(settings, p.sys, name.DockerReference())

	b := budget{Retry: opts.Retry.defaults(), log: settings.logger(), redact: p.redact, what: op}
	for {
		d, err := p.place(ctx, settings.StallTimeout)
		if err == nil {
			return d, nil
		}
		if dest.Transport != imageref.TransportRegistry || !b.again(ctx, err) {
			return fail(err, b.tries)
		}
	}
}

type push struct {
	PushOptions
	src    types.ImageReference
	dest   imageref.ImageReference
	sys    *types.SystemContext
	redact *redactor
}

// place is one try. What can be moved into its place when it is complete is first
// written to a private directory beside it.
func (p *push) place(ctx context.Context, stall time.Duration) (d digest.Digest, err error) {
	path := p.dest.Name
	switch p.dest.Transport {
	case imageref.TransportOCIArchive:
		path, _ = p.dest.PathAndTag()
	case imageref.TransportDockerArchive:
		path = beforeColon(p.dest.Name)
	case imageref.TransportDir:
	case imageref.TransportOCIDir:
		if d, err = p.copy(ctx, p.dest, stall); err != nil {
			return "", err
		}
		if path, tag := p.dest.PathAndTag(); tag == "" {
			err = onlyManifest(path, d)
		}
		return d, err
	case imageref.TransportDockerDaemon:
		d, err = p.copy(ctx, p.dest, stall)
		return d, p.daemonCause(ctx, err)
	default:
		return p.copy(ctx, p.dest, stall)
	}
	if !p.movable(path) {
		return p.copy(ctx, p.dest, stall)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".ostree-container-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	staged := filepath.Join(tmp, "image")
	if d, err = p.copy(ctx, imageref.ImageReference{Transport: p.dest.Transport, Name: staged + p.dest.Name[len(path):]}, stall); err != nil {
		return "", err
	}
	return d, os.Rename(staged, path)
}

// daemonCause says why a daemon did not take an image: containers/image knows only that the pipe to it is closed. An image that no daemon
// has is asked for, to learn whether there is one.
func (p *push) daemonCause(ctx context.Context, err error) error {
	if !errors.Is(err, io.ErrClosedPipe) {
		return err
	}
	none, parseErr := daemon.ParseReference("sha256:" + strings.Repeat("0", 64))
	if parseErr != nil {
		return err
	}
	src, asked := none.NewImageSource(ctx, p.sys)
	if asked == nil {
		return errors.Join(err, src.Close())
	}
	if client.IsErrConnectionFailed(asked) {
		return cmp.Or(errors.Unwrap(asked), asked) // without what was done with it
	}
	return fmt.Errorf("the docker daemon stopped reading: %w", err)
}

// movable reports whether the destination can be replaced by a rename: it is not there
// yet, or an archive that is written anew.
func (p *push) movable(path string) bool {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, err := os.Stat(filepath.Dir(path))
		return err == nil
	}
	return err == nil && fi.Mode().IsRegular() &&
		(p.dest.Transport == imageref.TransportOCIArchive || p.dest.Transport == imageref.TransportDockerArchive && fi.Size() == 0)
}

// copy runs containers/image.
func (p *push) copy(ctx context.Context, dest imageref.ImageReference, stall time.Duration) (d digest.Digest, err error) {
	name, err := imageReference(dest)
	if err != nil {
		return "", err
	}
	// The layout is ours: there is nothing to verify against a policy.
	policy, err := signature.NewPolicyContext(&signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, policy.Destroy()) }()
	// What other programs noted of registries would lead to other layers
	// than those of the layout, and nothing is to be left behind.
	cache, err := os.MkdirTemp(p.TempDir, "ostree-container-*")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(cache)) }()
	sys := *p.sys
	sys.BlobInfoCacheDir = cache

	w := newWatch(ctx, stall, p.redact)
	defer w.close()
	w.arm()
	events := make(chan types.ProgressProperties)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for e := range events {
			if w.timer != nil {
				w.touch(0)
			}
			p.report(e)
		}
	}()
	raw, err := copy.Image(w.ctx, policy, name, p.src, &copy.Options{
		SourceCtx:        &types.SystemContext{},
		DestinationCtx:   &sys,
		RemoveSignatures: true, // there are none
		PreserveDigests:  keepsBytes(dest.Transport),
		Progress:         events,
		ProgressInterval: 250 * time.Millisecond,
	})
	close(events)
	<-done
	if err != nil {
		return "", w.cause(err)
	}
	return digest.FromBytes(raw), nil
}

// keepsBytes reports whether a transport takes OCI manifests and layers as they are.
func keepsBytes(t imageref.Transport) bool {
	switch t {
	case imageref.TransportDockerArchive, imageref.TransportDockerDaemon:
		return false
	}
	return true
}

func (p *push) report(e types.ProgressProperties) {
	if p.Progress == nil {
		return
	}
	kind, ok := map[types.ProgressEvent]PushEvent{
		types.ProgressEventNewArtifact: PushStart,
		types.ProgressEventRead:        PushBytes,
		types.ProgressEventDone:        PushDone,
		types.ProgressEventSkipped:     PushPresent,
	}[e.Event]
	if !ok {
		return
	}
	p.Progress(PushProgress{Kind: kind, Digest: e.Artifact.Digest, Size: e.Artifact.Size, Done: int64(e.Offset)}) //nolint:gosec // bytes of a blob
}
