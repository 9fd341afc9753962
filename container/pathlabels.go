package container

import (
	"context"
	"crypto/sha256"
	"sync"
	"unique"

	"github.com/ostree-container/ostree-container/container/internal/object"
	"github.com/ostree-container/ostree-container/container/internal/union"
	"github.com/ostree-container/ostree-container/ostree"
)

// maxPathLabels bounds what is remembered, to some 10 MB.
const maxPathLabels = 1 << 18

// pathLabels is the policy of a base commit. Files are labelled by it when their layer is imported, and again, as they may be there from
// another base, in the merged tree: libselinux, which takes up to 0.2 ms, is asked once.
type pathLabels struct {
	policy *ostree.SePolicy
	commit string

	mu    sync.Mutex
	known map[pathKey]unique.Handle[string]
}

// pathKey is the start of the SHA-256 of a path and the type of its file, on which a label depends.
type pathKey [16]byte

func keyOf(path string, mode uint32) pathKey {
	sum := sha256.Sum256(append([]byte(path), 0, byte(mode&object.ModeType>>12)))
	return pathKey(sum[:])
}

// policyOfBase returns the policy of a base commit whose tree is t, nil if it has none. The import closes it, see closeLabels.
func (i *Importer) policyOfBase(ctx context.Context, t *union.Tree, commit string) (*pathLabels, error) {
	if i.labels != nil && i.labels.commit == commit {
		return i.labels, nil
	}
	policy, err := i.policyOf(ctx, t, commit)
	if err != nil || policy == nil {
		return nil, err
	}
	i.closeLabels()
	i.labels = &pathLabels{policy: policy, commit: commit, known: map[pathKey]unique.Handle[string]{}}
	return i.labels, nil
}

func (i *Importer) closeLabels() {
	if i.labels != nil {
		_ = i.labels.policy.Close() // frees memory only
		i.labels = nil
	}
}

// Label returns the label of a path and a mode, and remembers it.
func (p *pathLabels) Label(ctx context.Context, path string, mode uint32) (string, error) {
	label, err := p.policy.Label(ctx, path, mode)
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		if len(p.known) < maxPathLabels {
			p.known[keyOf(path, mode)] = unique.Make(label)
		}
	}
	return label, err
}

// again is Label for what will not be asked for any more.
func (p *pathLabels) again(ctx context.Context, path string, mode uint32) (string, error) {
	p.mu.Lock()
	label, ok := p.known[keyOf(path, mode)]
	p.mu.Unlock()
	if ok {
		return label.Value(), nil
	}
	return p.policy.Label(ctx, path, mode)
}
