package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/containers/image/v5/docker"
	ociarchive "github.com/containers/image/v5/oci/archive"
	"github.com/containers/image/v5/oci/layout"
	"github.com/docker/distribution/registry/api/errcode"
	v2 "github.com/docker/distribution/registry/api/v2"
	"github.com/opencontainers/go-digest"
)

// Errors about the source of an image.
var (
	// ErrUnsupportedTransport: the transport is not in this build (see StorageSupported).
	ErrUnsupportedTransport = errors.New("transport not supported by this build")
	// ErrNotFound: there is no such image, tag, blob, file or directory. It is also
	// what a status of 404 matches.
	ErrNotFound = errors.New("not found")
	// ErrUnauthorized: the registry refused the credentials, or wants some (401, 403).
	ErrUnauthorized = errors.New("unauthorized")
	// ErrStalled: no byte came for Options.StallTimeout, or went for that of PushOptions.
	ErrStalled = errors.New("stalled")
	// ErrClosed: the Image was closed.
	ErrClosed = errors.New("image is closed")
)

// Errors about the signature policy.
var (
	// ErrInsecurePolicy: the reference asks for a signature, and the default of the
	// policy is to accept anything.
	ErrInsecurePolicy = errors.New("containers-policy.json specifies a default of `insecureAcceptAnything`; refusing usage")
	// ErrPolicyRejected: the policy does not allow the image, or Options.RequireSigned is
	// set and it asks for no signature.
	ErrPolicyRejected = errors.New("rejected by policy")
	// ErrNoPolicy: there is no policy file. References that ask for no signature
	// (ostree-unverified-*) or for that of an ostree remote do without.
	ErrNoPolicy = errors.New("No containers policy.json found") //nolint:staticcheck // the text of ostree-rs-ext
)

// Errors about the content of an image.
var (
	// ErrUnsupportedManifest: the manifest is of a type that cannot be used, such as
	// docker schema 1.
	ErrUnsupportedManifest = errors.New("unsupported manifest MIME type")
	// ErrNotRegular: something in the directory of an image is neither a directory nor a regular file, nor a symlink to one.
	ErrNotRegular = errors.New("not a regular file")
	// ErrInvalidManifest: the manifest is not what its type asks for.
	ErrInvalidManifest = errors.New("invalid manifest")
	// ErrInvalidConfig: the configuration is not an image's, or belongs to another image.
	ErrInvalidConfig = errors.New("invalid image configuration")
	// ErrUnhandledLayer: a layer has an unknown media type.
	ErrUnhandledLayer = errors.New("Unhandled layer type") //nolint:staticcheck // the text of ostree-rs-ext
	// ErrEncrypted: a layer is encrypted, and none of Options.DecryptionKeys opens it.
	ErrEncrypted = errors.New("the layer is encrypted")
	// ErrDecryption: what a key opened is not what was encrypted, or not as it should be.
	ErrDecryption = errors.New("the layer cannot be decrypted")
	// ErrNoInstance: the index has no image for the platform.
	ErrNoInstance = errors.New("no image for the platform")
	// ErrTooLarge: a manifest or configuration exceeds MaxDocumentSize.
	ErrTooLarge = errors.New("too large")
)

// DigestError says that content is not what its digest promises.
type DigestError struct {
	// What is "manifest", "config" or "blob".
	What string
	// Want is the digest by which it was asked for, Got that of what came.
	Want, Got digest.Digest
}

// Error names both digests.
func (e *DigestError) Error() string {
	return fmt.Sprintf("%s has the wrong digest: expected %s, got %s", e.What, e.Want, e.Got)
}

// SizeError says that content is longer or shorter than its descriptor promises.
type SizeError struct {
	// What is "manifest", "config" or "blob".
	What string
	// Want and Got are in bytes. If Got is greater than Want, reading stopped
	// there and the content may be longer still.
	Want, Got int64
}

// Error names both sizes.
func (e *SizeError) Error() string {
	if e.Got < e.Want {
		return fmt.Sprintf("%s is too short: expected %d bytes, got %d", e.What, e.Want, e.Got)
	}
	return fmt.Sprintf("%s is too long: expected %d bytes, got %d or more", e.What, e.Want, e.Got)
}

// Error is an error of Open, Push, AcceptsUnseen or a method of Image, with what the source
// answered. Its text holds no credentials.
type Error struct {
	// Op says what was done: "open image docker://…", "fetch layer sha256:…", "push image to …".
	Op string
	// Status is the HTTP status of the registry's answer; 0 if unknown.
	Status int
	// Attempts is the number of times it was tried; 0 or 1 is once.
	Attempts int

	text  string
	cause []error
}

// Error returns the whole text, without credentials.
func (e *Error) Error() string {
	if e.Attempts > 1 {
		return e.Op + ": " + e.text + " (tried " + strconv.Itoa(e.Attempts) + " times)"
	}
	return e.Op + ": " + e.text
}

// Unwrap returns the causes. An error that shows credentials is left out; what it
// is (fs.ErrNotExist, io.ErrUnexpectedEOF and so on) can still be asked for.
func (e *Error) Unwrap() []error { return e.cause }

// Retryable reports whether err is one that may pass by itself: a status of 5xx or
// 429, a reset or dropped connection, a stall. It is false for what Open, FetchConfig
// and Blob have already tried again in vain, as Retry says, and for wrong
// content, which would be the same again.
func Retryable(err error) bool {
	var e *Error
	if errors.As(err, &e) && e.Attempts > 1 {
		return false
	}
	return temporary(err)
}

// newError makes the error of an operation.
func newError(ctx context.Context, op string, err error, attempts int, r *redactor) error {
	if err == nil {
		return nil
	}
	e := &Error{Op: op, Status: httpStatus(err), Attempts: attempts}
	var secret bool
	e.text, secret = describe(err, e.Status, r)
	if !secret {
		e.cause = append(e.cause, err)
	} else {
		e.cause = append(e.cause, kinds(err)...)
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.cause = append(e.cause, ErrUnauthorized)
	case http.StatusNotFound:
		e.cause = append(e.cause, ErrNotFound)
	}
	if notFound(err) {
		e.cause = append(e.cause, ErrNotFound)
	}
	if ctx.Err() != nil {
		cause := context.Cause(ctx)
		e.cause = append(e.cause, ctx.Err(), cause)
		if !strings.Contains(e.text, cause.Error()) { // some libraries only say that it was cancelled
			e.text += ": " + cause.Error()
		}
	}
	return e
}

func notFound(err error) bool {
	var (
		dir     layout.ImageNotFoundError
		archive ociarchive.ImageNotFoundError
		file    ociarchive.ArchiveFileNotFoundError
	)
	return errors.Is(err, fs.ErrNotExist) || errors.As(err, &dir) || errors.As(err, &archive) || errors.As(err, &file) ||
		errdefs.IsNotFound(err) || storageNotFound(err)
}

// kinds returns the well-known errors that err is.
func kinds(err error) []error {
	var found []error
	for _, k := range []error{
		ErrUnsupportedTransport, ErrNotFound, ErrUnauthorized, ErrStalled, ErrClosed,
		ErrInsecurePolicy, ErrPolicyRejected, ErrNoPolicy,
		ErrUnsupportedManifest, ErrNotRegular, ErrInvalidManifest, ErrInvalidConfig, ErrUnhandledLayer, ErrEncrypted, ErrDecryption,
		ErrNoInstance, ErrTooLarge,
		context.Canceled, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF,
		fs.ErrNotExist, fs.ErrPermission, errTemporaryStatus,
		syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.EPIPE, syscall.ENOSPC,
	} {
		if errors.Is(err, k) {
			found = append(found, k)
		}
	}
	if temporary(err) {
		found = append(found, errTemporaryStatus)
	}
	return found
}

// errTemporaryStatus stands for an error that was left out of a chain and may pass.
var errTemporaryStatus = errors.New("temporary failure")

// httpStatus returns the status of the answer that err is about, 0 if unknown.
func httpStatus(err error) int {
	var (
		status docker.UnexpectedHTTPStatusError
		code   errcode.Error
		codes  errcode.ErrorCode
		creds  docker.ErrUnauthorizedForCredentials
	)
	switch {
	case errors.As(err, &status):
		return status.StatusCode
	case errors.Is(err, docker.ErrTooManyRequests):
		return http.StatusTooManyRequests
	case errors.As(err, &creds):
		return http.StatusUnauthorized
	}
	if n, _ := rawAnswer(err); n != 0 {
		return n
	}
	if errors.As(err, &code) {
		codes = code.Code
	} else if !errors.As(err, &codes) {
		return 0
	}
	switch codes {
	case errcode.ErrorCodeUnauthorized:
		return http.StatusUnauthorized
	case errcode.ErrorCodeDenied:
		return http.StatusForbidden
	case errcode.ErrorCodeTooManyRequests:
		return http.StatusTooManyRequests
	case v2.ErrorCodeNameUnknown, v2.ErrorCodeManifestUnknown, v2.ErrorCodeBlobUnknown:
		return http.StatusNotFound
	}
	// Other codes come with several statuses.
	return 0
}

// rawAnswer finds the status and body that containers/image keeps in an error of
// a type that it does not export; it prints only the first 50 bytes of the body.
func rawAnswer(err error) (status int, body []byte) {
	for _, e := range flatten(err) {
		v := reflect.ValueOf(e)
		if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct || v.Elem().Type().Name() != "unexpectedHTTPResponseError" {
			continue
		}
		s, b := v.Elem().FieldByName("StatusCode"), v.Elem().FieldByName("Response")
		if s.IsValid() && s.CanInterface() && s.CanInt() && b.IsValid() && b.CanInterface() {
			if body, ok := b.Interface().([]byte); ok {
				return int(s.Int()), body
			}
		}
	}
	return 0, nil
}

// flatten returns err and all that it wraps.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	all := []error{err}
	switch u := err.(type) { //nolint:errorlint // this walks the chain itself
	case interface{ Unwrap() error }:
		all = append(all, flatten(u.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, e := range u.Unwrap() {
			all = append(all, flatten(e)...)
		}
	}
	if creds, ok := err.(docker.ErrUnauthorizedForCredentials); ok { //nolint:errorlint // see above; it has no Unwrap
		all = append(all, flatten(creds.Err)...)
	}
	return all
}

const maxAnswer = 1024 // bytes of a registry's answer in an error

// excerpt is how much of an answer containers/image shows, in bytes.
const excerpt = 50

// describe returns the text of err with the registry's answer, as far as it is known, without secrets, and whether there were any.
func describe(err error, status int, r *redactor) (text string, secret bool) {
	text = err.Error()
	secret = r.redact(text) != text
	quote := func(body []byte) string {
		plain := r.redact(string(body))
		secret = secret || plain != string(body)
		return quote(plain)
	}
	if _, body := rawAnswer(err); len(body) > excerpt {
		// Its excerpt goes: it may end within a secret.
		text = strings.Replace(text, fmt.Sprintf(", %q", string(body[:excerpt])+"..."), "", 1)
		text += ": the registry answered " + quote(body)
	}
	for _, e := range flatten(err) {
		if code, ok := e.(errcode.ErrorCode); ok && !strings.Contains(text, code.Message()) { //nolint:errorlint // flatten did that
			// An answer with the usual message for its code has become the code alone.
			text += ": " + code.Message()
		}
		if code, ok := e.(errcode.Error); ok { //nolint:errorlint // flatten did that
			if body, ok := code.Detail.([]byte); ok && len(body) > 0 {
				text += ": the registry answered " + quote(body)
			}
		}
	}
	if status != 0 && !strings.Contains(text, strconv.Itoa(status)) {
		text += " (HTTP " + strconv.Itoa(status) + " " + http.StatusText(status) + ")"
	}
	return r.redact(text), secret
}

func quote(answer string) string {
	if len(answer) > maxAnswer {
		return strconv.Quote(answer[:maxAnswer]) + "…"
	}
	return strconv.Quote(answer)
}

// temporary reports whether err may pass.
func temporary(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	switch status := httpStatus(err); {
	case status == http.StatusNotImplemented:
		return false
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return true
	case status != 0:
		return false
	}
	if errors.Is(err, ErrStalled) || errors.Is(err, errTemporaryStatus) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) {
		return true
	}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return dns.IsTemporary || dns.IsTimeout
	}
	var netErr net.Error
	if errors.As(err, &netErr) {
		// A server that closes the connection without an answer gives io.EOF in a url.Error.
		return netErr.Timeout() || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			strings.Contains(err.Error(), "server closed idle connection")
	}
	for _, e := range flatten(err) {
		// An error of the HTTP/2 code inside net/http, which exports no type for it.
		if strings.HasPrefix(e.Error(), "http2: server sent GOAWAY") || strings.HasPrefix(e.Error(), "stream error:") {
			return true
		}
	}
	return errors.Is(err, errDropped)
}

// errDropped marks an error in the middle of a blob's body.
var errDropped = errors.New("connection dropped")
