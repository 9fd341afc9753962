package testimage

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Request is one request to the registry, as a fault function sees it.
type Request struct {
	Kind    string        // "ping", "manifest", "blob", "token", "other"
	Name    string        // repository name
	Ref     string        // tag or digest of a manifest, digest of a blob
	Digest  digest.Digest // of what would be answered, if it is there
	N       int           // 1 for the first request of this Kind and Ref
	HTTP    *http.Request
	content []byte
}

// Fault says how to answer badly. The zero Fault is a good answer.
type Fault struct {
	Status  int         // answer this status with Body and Header, nothing else
	Body    string      // body for Status
	Header  http.Header // added to the answer
	Delay   time.Duration
	Cut     bool                // close the connection after Drop body bytes
	Drop    int64               // see Cut and Stall
	Stall   bool                // stop sending after Drop body bytes until the client goes away or the registry closes
	Replace []byte              // this body in place of the right one
	Mutate  func([]byte) []byte // changes the body (of the right length or not)
}

// Registry is a read-only registry over one OCI layout per repository name.
type Registry struct {
	Server *httptest.Server

	mu       sync.Mutex
	fault    func(Request) *Fault
	dirs     map[string]string
	fallback string
	user     string
	password string
	requests map[string]int // "kind ref" -> count
	bytes    int64
	inflight int
	maxBlobs int
	done     chan struct{}
}

// NewRegistry serves the layout dir under every repository name, over plain
// HTTP on a loopback port, until the test ends.
func NewRegistry(t testing.TB, dir string) *Registry {
	r := newRegistry(dir)
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

// NewRegistryTLS is NewRegistry with TLS and httptest's own certificate.
func NewRegistryTLS(t testing.TB, dir string) *Registry {
	r := newRegistry(dir)
	r.Server = httptest.NewUnstartedServer(r)
	r.Server.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
	r.Server.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func newRegistry(dir string) *Registry {
	return &Registry{
		dirs: map[string]string{}, fallback: dir, requests: map[string]int{}, done: make(chan struct{}),
	}
}

// Close ends stalled answers and stops the server.
func (r *Registry) Close() {
	r.mu.Lock()
	select {
	case <-r.done:
	default:
		close(r.done)
	}
	r.mu.Unlock()
	r.Server.CloseClientConnections()
	r.Server.Close()
}

// Host is "127.0.0.1:PORT".
func (r *Registry) Host() string { return r.Server.Listener.Addr().String() }

// Ref is "docker://HOST/NAME:TAG".
func (r *Registry) Ref(name, tag string) string {
	sep := ":"
	if strings.HasPrefix(tag, "sha256:") {
		sep = "@"
	}
	return "docker://" + r.Host() + "/" + name + sep + tag
}

// Add serves dir under a repository name of its own.
func (r *Registry) Add(name, dir string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dirs[name] = dir
}

// SetFault sets the fault function; nil means good answers.
func (r *Registry) SetFault(f func(Request) *Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = f
}

// RequireBasic asks for this user and password at every request.
func (r *Registry) RequireBasic(user, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.user, r.password = user, password
}

// Requests is how often a kind ("manifest", "blob") and reference was asked
// for with GET; "" as ref counts all of the kind.
func (r *Registry) Requests(kind, ref string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ref != "" {
		return r.requests[kind+" "+ref]
	}
	n := 0
	for k, v := range r.requests {
		if strings.HasPrefix(k, kind+" ") {
			n += v
		}
	}
	return n
}

// Reset sets all counters to zero.
func (r *Registry) Reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests, r.bytes, r.maxBlobs = map[string]int{}, 0, 0
}

// MaxBlobs is the greatest number of blobs that were being sent at once.
func (r *Registry) MaxBlobs() int { r.mu.Lock(); defer r.mu.Unlock(); return r.maxBlobs }

// Bytes is the number of body bytes sent.
func (r *Registry) Bytes() int64 { r.mu.Lock(); defer r.mu.Unlock(); return r.bytes }

var registryPath = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)

// ServeHTTP answers the read part of the OCI distribution API.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	q := Request{Kind: "other", HTTP: req}
	mediaType := "application/octet-stream"
	notFound := "NAME_UNKNOWN"
	switch m := registryPath.FindStringSubmatch(req.URL.Path); {
	case req.URL.Path == "/v2/" || req.URL.Path == "/v2":
		q.Kind, q.content, mediaType = "ping", []byte("{}"), "application/json"
	case strings.HasSuffix(req.URL.Path, "/tags/list"):
		q.Name = strings.TrimSuffix(strings.TrimPrefix(req.URL.Path, "/v2/"), "/tags/list")
		q.content, mediaType = r.tags(q.Name), "application/json"
	case strings.HasPrefix(req.URL.Path, "/token"):
		q.Kind = "token"
	case m != nil:
		q.Name, q.Ref = m[1], m[3]
		dir := r.dir(q.Name)
		if m[2] == "blobs" {
			q.Kind, q.Digest, notFound = "blob", digest.Digest(q.Ref), "BLOB_UNKNOWN"
			if q.Digest.Validate() == nil {
				q.content, _ = os.ReadFile(blobPath(dir, q.Digest))
			}
		} else {
			q.Kind, notFound = "manifest", "MANIFEST_UNKNOWN"
			q.Digest, mediaType, q.content = findManifest(dir, q.Ref)
		}
	}
	r.mu.Lock()
	key := q.Kind + " " + q.Ref
	if req.Method == http.MethodGet {
		r.requests[key]++
	}
	q.N = r.requests[key]
	fault, user, password := r.fault, r.user, r.password
	if q.Kind == "blob" && req.Method == http.MethodGet {
		r.inflight++
		r.maxBlobs = max(r.maxBlobs, r.inflight)
		defer func() { r.mu.Lock(); r.inflight--; r.mu.Unlock() }()
	}
	r.mu.Unlock()

	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	var f Fault
	if fault != nil {
		if got := fault(q); got != nil {
			f = *got
		}
	}
	for k, v := range f.Header {
		w.Header()[k] = v
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-req.Context().Done():
			return
		case <-r.done:
			return
		}
	}
	if f.Status != 0 {
		w.WriteHeader(f.Status)
		io.WriteString(w, f.Body)
		return
	}
	if user != "" {
		if u, p, ok := req.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="testimage"`)
			apiError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
	}
	if req.Method != http.MethodGet && req.Method != http.MethodHead {
		apiError(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "read-only registry")
		return
	}
	if q.content == nil {
		apiError(w, http.StatusNotFound, notFound, "not here: "+q.Ref)
		return
	}
	r.send(w, req, q, f, mediaType)
}

func (r *Registry) send(w http.ResponseWriter, req *http.Request, q Request, f Fault, mediaType string) {
	body := q.content
	if f.Replace != nil {
		body = f.Replace
	}
	if f.Mutate != nil {
		body = f.Mutate(bytes.Clone(body))
	}
	status := http.StatusOK
	if rng := req.Header.Get("Range"); rng != "" && q.Kind == "blob" {
		var from, to int
		to = len(body) - 1
		if n, _ := fmt.Sscanf(rng, "bytes=%d-%d", &from, &to); n >= 1 && from < len(body) && to >= from {
			to = min(to, len(body)-1)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(body)))
			body, status = body[from:to+1], http.StatusPartialContent
		} else {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
	}
	if q.Digest != "" {
		w.Header().Set("Docker-Content-Digest", q.Digest.String())
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Accept-Ranges", "bytes")
	w.WriteHeader(status)
	if req.Method == http.MethodHead {
		return
	}
	part := body
	if (f.Cut || f.Stall) && f.Drop < int64(len(body)) {
		part = body[:f.Drop]
	}
	n, _ := w.Write(part)
	r.mu.Lock()
	r.bytes += int64(n)
	r.mu.Unlock()
	if !f.Cut && !f.Stall {
		return
	}
	if fl, ok := w.(http.Flusher); ok {
		fl.Flush()
	}
	if f.Stall {
		select {
		case <-req.Context().Done():
		case <-r.done:
		}
	}
	panic(http.ErrAbortHandler) // closes the connection without a proper end
}

func (r *Registry) dir(name string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d, ok := r.dirs[name]; ok {
		return d
	}
	return r.fallback
}

func (r *Registry) tags(name string) []byte {
	idx, err := readIndex(r.dir(name))
	if err != nil {
		return nil
	}
	tags := []string{}
	for _, m := range idx.Manifests {
		tags = append(tags, m.Annotations[ocispec.AnnotationRefName])
	}
	b, _ := json.Marshal(map[string]any{"name": name, "tags": tags})
	return b
}

func findManifest(dir, ref string) (digest.Digest, string, []byte) {
	d := digest.Digest(ref)
	idx, err := readIndex(dir)
	if err != nil {
		return "", "", nil
	}
	mediaType := ocispec.MediaTypeImageManifest
	if d.Validate() != nil {
		d = ""
		for _, m := range idx.Manifests {
			if m.Annotations[ocispec.AnnotationRefName] == ref {
				d = m.Digest
			}
		}
		if d == "" {
			return "", "", nil
		}
	}
	b, err := os.ReadFile(blobPath(dir, d))
	if err != nil {
		return "", "", nil
	}
	var m struct{ MediaType string }
	if readJSON(blobPath(dir, d), &m) == nil && m.MediaType != "" {
		mediaType = m.MediaType
	}
	return d, mediaType, b
}

func apiError(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, message)
}
