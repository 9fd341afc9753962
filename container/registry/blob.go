package registry

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"

	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// Blob returns the bytes of layer n (from 0) as the source has them, compressed or
// not, but decrypted: without a key that fits, the error is ErrEncrypted. Read reports io.EOF only after the digest and size of everything were found
// right, and *DigestError or *SizeError otherwise: what was read before that is not
// verified, so the reader must be read to its end. Closing it early gives up the transfer.
//
// A connection that breaks is made again where it may help (see Retry): bytes that
// were read already are not read again by the caller. ctx must live until Close.
//
// It is safe for concurrent use; the reader is not. Errors are of type *Error; ErrNotFound
// for an n that is no layer, ErrClosed after Close.
func (i *Image) Blob(ctx context.Context, n int) (io.ReadCloser, error) {
	return i.TeeBlob(ctx, n, nil)
}

// TeeBlob is Blob, and writes to w what is read of the source's blob: of an encrypted layer the encrypted bytes. When Read has reported io.EOF all
// of the blob is there. An error of w ends the reading, and is returned as it is; nil: nothing is written.
func (i *Image) TeeBlob(ctx context.Context, n int, w io.Writer) (io.ReadCloser, error) {
	if n < 0 || n >= len(i.Layers) {
		return nil, newError(ctx, "fetch layer", fmt.Errorf("number %d of %d: %w", n, len(i.Layers), ErrNotFound), 0, i.redact)
	}
	desc := i.Layers[n].Descriptor
	op := "fetch layer " + desc.Digest.String()
	desc.Digest, desc.Size = i.Layers[n].BlobDigest, i.Layers[n].BlobSize
	r, err := i.startBlob(ctx, "blob", desc)
	if err != nil {
		tries := 0
		if r != nil {
			tries = r.tries
		}
		return nil, newError(ctx, op, err, tries, i.redact)
	}
	blob := &layerReader{blobReader: r, op: op, tee: w}
	if i.Layers[n].Encrypted {
		return i.decrypted(ctx, blob, i.Layers[n].Descriptor)
	}
	return blob, nil
}

// layerReader names the layer in errors.
type layerReader struct {
	*blobReader
	op  string
	tee io.Writer // nil: nobody
}

func (l *layerReader) Read(p []byte) (int, error) {
	n, err := l.blobReader.Read(p)
	if n > 0 && l.tee != nil {
		if _, err := l.tee.Write(p[:n]); err != nil {
			l.err = err // for good
			return 0, err
		}
	}
	if err != nil && err != io.EOF { //nolint:errorlint // only the plain one is an end
		err = newError(l.parent, l.op, err, l.tries, l.image.redact)
	}
	return n, err
}

// blobReader reads a blob, verifies it, and connects again where that may help.
type blobReader struct {
	budget
	image  *Image
	from   types.ImageSource // of the last connection
	tokens renewals
	parent context.Context    //nolint:containedctx // a reader has no other way to obey it
	kind   string             // for errors: "blob" or "config"
	desc   ocispec.Descriptor // Size is -1 if it is not known

	watch *watch
	body  io.ReadCloser
	hash  hash.Hash
	got   int64
	lost  error // of the connection, to be dealt with by the next Read
	err   error // for good
}

// startBlob starts reading one blob. With an error it may return the reader, for its
// count of tries.
func (i *Image) startBlob(ctx context.Context, kind string, desc ocispec.Descriptor) (*blobReader, error) {
	if i.closed {
		return nil, ErrClosed
	}
	b := &blobReader{
		budget: budget{Retry: i.retry, log: i.log, redact: i.redact, what: "fetch " + kind + " " + desc.Digest.String()},
		image:  i,
		parent: ctx,
		kind:   kind,
		desc:   desc,
		hash:   desc.Digest.Algorithm().Hash(),
	}
	for {
		err := b.connect()
		if err == nil {
			return b, nil
		}
		if !b.goOn(err) {
			return b, err
		}
	}
}

// goOn reports whether to connect again after err, to the same source or to another.
func (b *blobReader) goOn(err error) bool {
	if errors.Is(err, ErrStalled) && b.elsewhere(err) { // to wait as long once more is for those who have nothing else
		return true
	}
	return b.retry(err) || b.elsewhere(err)
}

// retry reports whether to connect again after err. It waits, or sees to a new token.
func (b *blobReader) retry(err error) bool {
	if httpStatus(err) == http.StatusUnauthorized && b.tokens.allow() {
		b.log.DebugContext(b.parent, "the registry wants a new token", "what", b.what)
		if b.image.renew(b.parent, b.from) == nil {
			return true
		}
	}
	return b.again(b.parent, err)
}

// elsewhere reports whether to connect again, to another source.
func (b *blobReader) elsewhere(err error) bool {
	if b.parent.Err() != nil || !b.image.elsewhere(b.parent, b.from, err) {
		return false
	}
	b.tries, b.stalls, b.tokens = 0, 0, renewals{}
	return true
}

// connect makes a connection and reads past what the caller has.
func (b *blobReader) connect() (err error) {
	if err := b.parent.Err(); err != nil {
		return err
	}
	b.watch = newWatch(b.parent, b.image.stall, b.redact)
	defer func() {
		if err != nil {
			err = b.image.dropped(b.watch.cause(err))
			b.disconnect()
		}
	}()
	info := types.BlobInfo{Digest: b.desc.Digest, Size: b.desc.Size, MediaType: b.desc.MediaType}
	if _, ok := twins[strings.TrimSuffix(b.desc.MediaType, encryptedSuffix)]; ok {
		info.URLs = b.desc.URLs // where a non-distributable layer really is
	}
	b.watch.arm()
	defer b.watch.disarm()
	b.from = b.image.source()
	body, size, err := b.getBlob(info)
	if err != nil {
		return err
	}
	b.body = body
	b.tokens.worked()
	if size >= 0 && b.desc.Size >= 0 && size != b.desc.Size {
		return &SizeError{What: b.kind, Want: b.desc.Size, Got: size}
	}
	skip := make([]byte, 64<<10)
	for left := b.got; left > 0; {
		b.watch.arm()
		n, err := body.Read(skip[:min(left, int64(len(skip)))])
		left -= int64(n)
		if err != nil && left > 0 {
			if err == io.EOF { //nolint:errorlint // only the plain one is an end
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

func (b *blobReader) getBlob(info types.BlobInfo) (io.ReadCloser, int64, error) {
	if b.image.Ref.ImgRef.Transport == imageref.TransportContainersStorage {
		return b.getStored(info)
	}
	if !b.from.HasThreadSafeGetBlob() {
		// The sources with this property (oci, oci-archive, dir) only open a file.
		b.image.getBlob.Lock()
		defer b.image.getBlob.Unlock()
	}
	return b.from.GetBlob(b.watch.ctx, info, none.NoCache)
}

// getStored is getBlob for a containers-storage. containers/image copies the layer into
// a temporary file first, with the store locked, and does not look at the context.
func (b *blobReader) getStored(info types.BlobInfo) (io.ReadCloser, int64, error) {
	type result struct {
		body io.ReadCloser
		size int64
		err  error
	}
	done := make(chan result, 1)
	go func() {
		body, size, err := b.from.GetBlob(context.WithoutCancel(b.parent), info, none.NoCache)
		done <- result{body, size, err}
	}()
	select {
	case r := <-done:
		return r.body, r.size, r.err
	case <-b.parent.Done():
		go func() {
			if r := <-done; r.err == nil {
				_ = r.body.Close() // a file without a name
			}
		}()
		return nil, 0, b.parent.Err()
	}
}

func (b *blobReader) disconnect() error {
	var err error
	if b.body != nil {
		err = b.body.Close()
		b.body = nil
	}
	if b.watch != nil {
		b.watch.close()
	}
	return err
}

// Read implements io.Reader.
func (b *blobReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := b.read(p)
	if err != nil {
		b.err = err
	}
	return n, err
}

func (b *blobReader) read(p []byte) (int, error) {
	for {
		if err := b.parent.Err(); err != nil {
			return 0, err
		}
		if b.lost != nil {
			err := b.lost
			b.lost = nil
			_ = b.disconnect() // it is broken already
			if !b.goOn(err) {
				return 0, err
			}
			if err := b.connect(); err != nil {
				b.lost = err
			}
			continue
		}
		// One byte more than there should be, to see that there are more.
		if left := b.desc.Size - b.got; b.desc.Size >= 0 && left < int64(len(p)) {
			p = p[:left+1]
		}
		b.watch.arm()
		n, err := b.body.Read(p)
		b.watch.disarm()
		if b.desc.Size >= 0 && b.got+int64(n) > b.desc.Size {
			return 0, &SizeError{What: b.kind, Want: b.desc.Size, Got: b.got + int64(n)}
		}
		b.hash.Write(p[:n])
		b.got += int64(n)
		switch {
		case err == io.EOF: //nolint:errorlint // only the plain one is an end
			if err := b.verify(); err != nil {
				return n, err
			}
			return n, io.EOF
		case err != nil:
			b.lost = b.image.dropped(b.watch.cause(err))
			if n == 0 {
				continue
			}
		}
		if n > 0 {
			return n, nil
		}
	}
}

func (b *blobReader) verify() error {
	if b.desc.Size >= 0 && b.got != b.desc.Size {
		return &SizeError{What: b.kind, Want: b.desc.Size, Got: b.got}
	}
	if got := digest.NewDigest(b.desc.Digest.Algorithm(), b.hash); got != b.desc.Digest {
		return &DigestError{What: b.kind, Want: b.desc.Digest, Got: got}
	}
	return nil
}

var errReaderClosed = errors.New("read from closed blob")

// Close ends the transfer. It may be called twice.
func (b *blobReader) Close() error {
	if errors.Is(b.err, errReaderClosed) {
		return nil
	}
	b.err = errReaderClosed
	err := b.disconnect()
	if b.image.Ref.ImgRef.Transport == imageref.TransportRegistry {
		// What a broken connection says when it is closed is of no interest.
		return nil
	}
	return err
}
