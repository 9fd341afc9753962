package container_test

import (
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container"
	"github.com/ostree-container/ostree-container/container/internal/oracle"
	ti "github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// One layer fails at the registry, in every way; the others are finished and kept, no ref names the bad one (B35), and once the
// registry is well again only that one is fetched.
func TestB35_RegistryFailsInOneLayer(t *testing.T) {
	layers := plainLayers("a", 3, 4, 400_000)
	dir := t.TempDir()
	w := ti.Image{Layers: layers}.Write(t, dir, "latest")
	bad := w.Manifest.Layers[1].Digest.String()
	other, err := os.ReadFile(w.BlobPath(w.Manifest.Layers[2].Digest))
	require.NoError(t, err)
	good, err := os.ReadFile(w.BlobPath(w.Manifest.Layers[1].Digest))
	require.NoError(t, err)
	// Another valid layer of exactly the right size.
	twin := slices.Concat(other[:min(len(other), len(good))], make([]byte, max(0, len(good)-len(other))))
	for _, tc := range []struct {
		name  string
		fault ti.Fault
		is    error
		text  string
	}{
		{"401", ti.Fault{Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"token expired"}]}`}, registry.ErrUnauthorized, "token expired"},
		{"403", ti.Fault{Status: 403, Body: `{"errors":[{"code":"DENIED","message":"not yours"}]}`}, registry.ErrUnauthorized, "not yours"},
		{"404", ti.Fault{Status: 404, Body: `{"errors":[{"code":"BLOB_UNKNOWN","message":"collected"}]}`}, registry.ErrNotFound, "collected"},
		{"429", ti.Fault{Status: 429, Header: http.Header{"Retry-After": {"0"}}, Body: "slow down"}, nil, "429"},
		{"500", ti.Fault{Status: 500, Body: "out of order"}, nil, "500"},
		{"drop", ti.Fault{Cut: true, Drop: 20}, nil, ""},
		{"stall", ti.Fault{Stall: true, Drop: 100_000}, registry.ErrStalled, ""},
		{"another layer", ti.Fault{Replace: other}, nil, ""},
		{"another layer of the right size", ti.Fault{Replace: twin}, nil, bad},
		{"nothing", ti.Fault{Replace: []byte{}}, nil, ""},
		{"a page", ti.Fault{Replace: []byte("<html>please log in</html>")}, nil, ""},
		{"one bit", ti.Fault{Mutate: func(b []byte) []byte { b[len(b)/2] ^= 4; return b }}, nil, bad},
		{"last byte", ti.Fault{Mutate: func(b []byte) []byte { b[len(b)-1] ^= 4; return b }}, nil, bad},
		{"short", ti.Fault{Mutate: func(b []byte) []byte { return b[:len(b)-1] }}, nil, ""},
		{"long", ti.Fault{Mutate: func(b []byte) []byte { return append(b, 0) }}, nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			reg := ti.NewRegistry(t, dir)
			reg.SetFault(func(q ti.Request) *ti.Fault {
				if q.Ref == bad && q.HTTP.Method == http.MethodGet {
					f := tc.fault
					f.Delay = 400 * time.Millisecond // the other layers are done by then
					return &f
				}
				return nil
			})
			options := quickly(t)
			options.StallTimeout = 2 * time.Second
			options.Retry = registry.Retry{Attempts: 2, Delay: 10 * time.Millisecond}
			repo, repoDir := newRepo(t, modeHere())
			start := time.Now()
			_, _, err := pull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Registry: options})
			require.Error(t, err)
			assert.Less(t, time.Since(start), 20*time.Second)
			if tc.is != nil {
				assert.ErrorIs(t, err, tc.is)
			}
			var le *container.LayerError
			require.ErrorAs(t, err, &le)
			assert.Equal(t, []any{bad, 2, 3}, []any{le.Digest.String(), le.Index, le.Total})
			assert.Contains(t, err.Error(), tc.text)
			assert.Contains(t, err.Error(), reg.Host())
			refs := oracle.Refs(t, repoDir)
			assert.NotContains(t, refs, refOfLayer(t, *w, 1))
			assert.Contains(t, refs, refOfLayer(t, *w, 0))
			assert.Contains(t, refs, refOfLayer(t, *w, 2))
			assert.Len(t, refs, 2)
			oracle.Fsck(t, repoDir)
			assert.Empty(t, leftovers(t, repoDir))
			reg.SetFault(nil)
			reg.Reset()
			state := mustPull(t, repo, reg.Ref("os", "latest"), container.ImporterOptions{Registry: options})
			assert.Equal(t, 2, reg.Requests("blob", ""), "config and the missing layer")
			wellPulled(t, repoDir, state, layers)
		})
	}
}

// The same for manifest and config: nothing is written.
func TestRegistryFailsBeforeTheLayers(t *testing.T) {
	dir := t.TempDir()
	w := ti.Image{Layers: plainLayers("a", 1, 1, 0)}.Write(t, dir, "latest")
	for _, what := range []string{"manifest", "config"} {
		for name, fault := range map[string]ti.Fault{
			"401":  {Status: 401, Body: `{"errors":[{"code":"UNAUTHORIZED","message":"go away"}]}`},
			"404":  {Status: 404, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"go away"}]}`},
			"500":  {Status: 500, Body: "go away"},
			"cut":  {Cut: true, Drop: 10},
			"page": {Replace: []byte("<html>please log in</html>")},
			"bit":  {Mutate: func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
		} {
			t.Run(what+", "+name, func(t *testing.T) {
				t.Parallel()
				reg := ti.NewRegistry(t, dir)
				reg.SetFault(func(q ti.Request) *ti.Fault {
					if what == q.Kind || what == "config" && q.Ref == w.Manifest.Config.Digest.String() {
						return &fault
					}
					return nil
				})
				repo, repoDir := newRepo(t, modeHere())
				// By digest where the manifest's bytes are wrong: a tag means whatever the registry says.
				ref := reg.Ref("os", "latest")
				if what == "manifest" {
					ref = reg.Ref("os", w.Digest().String())
				}
				_, _, err := pull(t, repo, ref, container.ImporterOptions{Registry: quickly(t)})
				require.Error(t, err)
				assert.Contains(t, err.Error(), reg.Host())
				assert.Contains(t, err.Error(), "Preparing import: Fetching "+what)
				if fault.Body != "" && fault.Status < 500 { // of those containers/image keeps the status only
					assert.Contains(t, err.Error(), "go away")
				}
				nothingVisible(t, repoDir)
				assert.Empty(t, oracle.Refs(t, repoDir))
			})
		}
	}
}
