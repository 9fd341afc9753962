package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
)

// place is one of the locations that registries.conf has for a name: a mirror, or the registry itself.
type place struct {
	location string
	insecure bool
}

// places returns where the image that a source was opened for may be found, mirrors first, if there is more than one such place.
// containers/image takes all blobs from the first that has the manifest.
func places(name types.ImageReference, sys *types.SystemContext) ([]place, error) {
	named := name.DockerReference()
	entry, err := sysregistriesv2.FindRegistry(sys, named.Name())
	if err != nil || entry == nil || len(entry.Mirrors) == 0 {
		return nil, err
	}
	sources, err := entry.PullSourcesFromReference(named)
	if err != nil || len(sources) < 2 {
		return nil, err
	}
	var all []place
	for _, s := range sources {
		all = append(all, place{reference.TrimNamed(s.Reference).String(), s.Endpoint.Insecure})
	}
	return all, nil
}

// answering notes the host, with its port, that was asked last in requests with the context.
func answering(ctx context.Context, host *atomic.Value) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(hostPort string) { host.Store(hostPort) }})
}

// unasked leaves out the places up to the one that gave the manifest: those before it have not got it. at is that one's location, as
// sourceLocation has it. Where it is not known the host that was asked last has to do, of which the first place counts; where that does
// not tell either, as behind a proxy, all are left.
func unasked(all []place, at string, host *atomic.Value) []place {
	for n, p := range all {
		if at != "" && p.location == at {
			return all[n+1:]
		}
	}
	last, _ := host.Load().(string)
	for n, p := range all {
		if at, _, _ := strings.Cut(p.location, "/"); last == at || last == at+":443" || last == at+":80" {
			return all[n+1:]
		}
	}
	return all
}

// sourceLocation is the location that a source of containers/image settled for, "" if it is not known. The source does not say: it is read
// from the field that it keeps it in, and several places of one host cannot be told apart in any other way.
func sourceLocation(src types.ImageSource) string {
	v := reflect.ValueOf(src)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return ""
	}
	v = v.Elem().FieldByName("physicalRef")
	if v.Kind() != reflect.Struct {
		return ""
	}
	v = v.FieldByName("ref")
	if !v.IsValid() || v.Type() != reflect.TypeFor[reference.Named]() || v.IsNil() {
		return ""
	}
	named := *(*reference.Named)(v.Addr().UnsafePointer())
	return reference.TrimNamed(named).String()
}

// open opens the image at one place, by the digest of the manifest that is known. The accounts and certificates are those that
// containers/image would use there: it is told by a registries.conf that has no other place.
func (p place) open(ctx context.Context, image *Image, name types.ImageReference, sys *types.SystemContext) (_ types.ImageSource, err error) {
	digest := image.ManifestDigest
	if image.IndexDigest != "" {
		digest = image.IndexDigest
	}
	named, err := reference.WithDigest(reference.TrimNamed(name.DockerReference()), digest)
	if err != nil {
		return nil, err
	}
	ref, err := docker.NewReference(named)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(sys.BigFilesTemporaryDir, "ostree-container-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir))
		sysregistriesv2.InvalidateCache() // it would keep what was in each such directory for ever; a source asks only while it is made
	}()
	conf, empty := filepath.Join(dir, "registries.conf"), filepath.Join(dir, "registries.conf.d")
	helpers, err := sysregistriesv2.CredentialHelpers(sys)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("credential-helpers = [%s]\n[[registry]]\nprefix = %q\nlocation = %q\ninsecure = %t\n",
		tomlStrings(helpers), named.Name(), p.location, p.insecure)
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o600), os.Mkdir(empty, 0o700)); err != nil {
		return nil, err
	}
	only := *sys
	only.SystemRegistriesConfPath, only.SystemRegistriesConfDirPath = conf, empty
	return ref.NewImageSource(ctx, &only)
}

// tomlStrings returns the elements of a TOML array.
func tomlStrings(texts []string) string {
	out := make([]string, len(texts))
	for n, text := range texts {
		out[n] = strconv.Quote(text)
	}
	return strings.Join(out, ", ")
}

// elsewhere makes blobs come from the next place that has the image, if the source that failed is still in use. It reports whether
// there is another source now.
func (i *Image) elsewhere(ctx context.Context, failed types.ImageSource, why error) bool {
	i.sources.Lock()
	defer i.sources.Unlock()
	if i.src != failed {
		return true
	}
	for len(i.places) > 0 && ctx.Err() == nil {
		next := i.places[0]
		i.places = i.places[1:]
		open := func(ctx context.Context) (types.ImageSource, error) { return next.open(ctx, i, i.name, i.sys) }
		if err := i.replace(ctx, open); err != nil {
			text, _ := describe(err, httpStatus(err), i.redact)
			i.log.DebugContext(ctx, "no other source", "location", next.location, "error", text)
			continue
		}
		text, _ := describe(why, httpStatus(why), i.redact)
		i.log.WarnContext(ctx, "taking blobs from another source", "location", next.location, "error", text)
		i.reopen = open
		return true
	}
	return false
}
