package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"
)

// DeltaName names a static delta.
type DeltaName struct {
	From string // 64 hex digits, "" for a delta from nothing
	To   string // 64 hex digits
}

// String returns "FROM-TO", or "TO".
func (d DeltaName) String() string {
	if d.From == "" {
		return d.To
	}
	return d.From + "-" + d.To
}

// ParseDeltaName is the reverse of DeltaName.String. Errors match ErrInvalidArgument.
func ParseDeltaName(s string) (DeltaName, error) {
	d := DeltaName{To: s}
	if from, to, ok := strings.Cut(s, "-"); ok {
		d = DeltaName{from, to}
		if err := ValidateChecksum(from); err != nil {
			return DeltaName{}, fmt.Errorf("delta %q: %w", s, err)
		}
	}
	if err := ValidateChecksum(d.To); err != nil {
		return DeltaName{}, fmt.Errorf("delta %q: %w", s, err)
	}
	return d, nil
}

// StaticDeltas returns the names of the static deltas in the repository, sorted.
//
// C: ostree_repo_list_static_delta_names
func (r *Repo) StaticDeltas(ctx context.Context) ([]DeltaName, error) {
	const op = "list static deltas"
	names, err := r.stringArray(ctx, op, func(out **C.GPtrArray, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_list_static_delta_names(r.c(), out, c, e)
	})
	if err != nil {
		return nil, err
	}
	list := make([]DeltaName, len(names))
	for i, n := range names {
		if list[i], err = ParseDeltaName(n); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
	}
	return list, nil
}

// StaticDeltaIndexes returns the commits for which there is an index of the static deltas to them, sorted.
//
// C: ostree_repo_list_static_delta_indexes
func (r *Repo) StaticDeltaIndexes(ctx context.Context) ([]string, error) {
	return r.stringArray(ctx, "list static delta indexes", func(out **C.GPtrArray, c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_list_static_delta_indexes(r.c(), out, c, e)
	})
}

func (r *Repo) stringArray(ctx context.Context, op string, fn func(**C.GPtrArray, *C.GCancellable, **C.GError) C.gboolean) ([]string, error) {
	var list *C.GPtrArray
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean { return fn(&list, c, e) }, r.handle())
	if err != nil {
		return nil, err
	}
	defer C.g_ptr_array_unref(list)
	var out []string
	for _, p := range unsafe.Slice((**C.char)(unsafe.Pointer(list.pdata)), int(list.len)) {
		out = append(out, C.GoString(p))
	}
	slices.Sort(out)
	return out, nil
}

// DeltaOptions are the options of GenerateStaticDelta; nil is the zero value.
type DeltaOptions struct {
	LowLatency    bool     // favour the time it takes to make over the size
	Metadata      *Variant // "a{sv}" kept in the delta; nil for none
	MinFallback   *uint32  // objects larger than this, in MB (10^6 bytes), are not put in but fetched; 0: all are put in; nil: 4
	MaxBSDiffSize *uint32  // size in MB, of old and new file together, over which no binary difference is made; nil: 128
	MaxChunkSize  uint32   // size in MB of a part; 0: 32
	NoBSDiff      bool     // no binary differences
	InlineParts   bool     // one file with all parts in it
	BigEndian     bool     // for machines of that byte order; the default is that of this one
	// File is where to write the delta; parts that are not inline go beside it. "": into the repository.
	File string
	// SignEngine and SignKeys sign the delta, with secret keys in text form. Engine "": not signed.
	SignEngine string
	SignKeys   []string
}

// GenerateStaticDelta makes a delta that turns the objects of commit from ("": none) into those of commit to. Both must be complete.
//
// C: ostree_repo_static_delta_generate
func (r *Repo) GenerateStaticDelta(ctx context.Context, from, to string, opts *DeltaOptions) error {
	op := "generate static delta " + DeltaName{from, to}.String()
	if opts == nil {
		opts = &DeltaOptions{}
	}
	if _, err := ParseDeltaName(DeltaName{from, to}.String()); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	v, err := opts.build()
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	owners := []*handle{r.handle(), v.handle()}
	if opts.Metadata != nil {
		if err := opts.Metadata.want("a{sv}"); err != nil {
			return fmt.Errorf("%s: metadata: %w", op, err)
		}
		owners = append(owners, opts.Metadata.handle())
	}
	effort := C.OstreeStaticDeltaGenerateOpt(C.OSTREE_STATIC_DELTA_GENERATE_OPT_MAJOR)
	if opts.LowLatency {
		effort = C.OSTREE_STATIC_DELTA_GENERATE_OPT_LOWLATENCY
	}
	var a arena
	defer a.free()
	cfrom, cto := a.opt(from), a.str(to)
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_static_delta_generate(r.c(), effort, cfrom, cto, opts.Metadata.c(), v.c(), c, e)
	}, owners...)
}

func (o *DeltaOptions) build() (*Variant, error) {
	d := NewVariantDict()
	if (o.SignEngine == "") != (len(o.SignKeys) == 0) {
		return nil, fmt.Errorf("%w: a signature engine without keys, or the reverse", ErrInvalidArgument)
	}
	if o.MinFallback != nil {
		d.SetUint32("min-fallback-size", *o.MinFallback)
	}
	if o.MaxBSDiffSize != nil {
		d.SetUint32("max-bsdiff-size", *o.MaxBSDiffSize)
	}
	if o.MaxChunkSize != 0 {
		d.SetUint32("max-chunk-size", o.MaxChunkSize)
	}
	if o.NoBSDiff {
		d.SetBool("bsdiff-enabled", false)
	}
	if o.InlineParts {
		d.SetBool("inline-parts", true)
	}
	if o.BigEndian {
		d.SetUint32("endianness", C.G_BIG_ENDIAN)
	}
	for key, s := range map[string]string{"filename": o.File, "sign-name": o.SignEngine} {
		if strings.IndexByte(s, 0) >= 0 {
			return nil, fmt.Errorf("%w: NUL in %q", ErrInvalidArgument, s)
		}
		if s != "" {
			d.SetBytes(key, append([]byte(s), 0))
		}
	}
	if o.SignEngine != "" {
		d.SetStrv("sign-key-ids", o.SignKeys)
	}
	return d.Build()
}

// ExecuteStaticDelta writes the objects of a delta from a file, or from a directory that has it as "superblock", as those in the repository. The commit
// that it starts from must be there. No ref is set. With a signer, which may be nil, the delta must be signed with one of its
// public keys. In an open transaction.
//
// C: ostree_repo_static_delta_execute_offline_with_signature, ostree_repo_static_delta_execute_offline
func (r *Repo) ExecuteStaticDelta(ctx context.Context, path string, signer *Signer) error {
	op := "execute static delta " + path
	var a arena
	defer a.free()
	f := newFile(&a, path)
	defer fileUnref(f)
	if a.err != nil || path == "" {
		return fmt.Errorf("%s: %w: path", op, ErrInvalidArgument)
	}
	const skip = 0 // to skip validation, libostree skips writing too
	if signer == nil {
		return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
			return C.ostree_repo_static_delta_execute_offline(r.c(), f, skip, c, e)
		}, r.handle())
	}
	// libostree takes a delta without any signature even then.
	block := path
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		block = filepath.Join(path, "superblock")
	}
	if _, err := r.VerifyStaticDeltaFile(ctx, block, signer); err != nil {
		return err
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_static_delta_execute_offline_with_signature(r.c(), f, signer.c(), skip, c, e)
	}, r.handle(), signer.handle())
}

// ReindexStaticDeltas writes the index of the deltas to a commit, or those of all commits if it is "". It sets core.indexed-deltas in the config.
//
// C: ostree_repo_static_delta_reindex
func (r *Repo) ReindexStaticDeltas(ctx context.Context, commit string) error {
	const op = "reindex static deltas"
	if commit != "" {
		if err := ValidateChecksum(commit); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	var a arena
	defer a.free()
	csum := a.opt(commit)
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_static_delta_reindex(r.c(), C.OSTREE_STATIC_DELTA_INDEX_FLAGS_NONE, csum, c, e)
	}, r.handle())
}

// VerifyStaticDelta returns nil if a delta of the repository is signed with one of the signer's public keys, and a text that says which. A delta
// that is not signed is an error.
//
// C: ostree_repo_static_delta_verify_signature
func (r *Repo) VerifyStaticDelta(ctx context.Context, name DeltaName, signer *Signer) (text string, err error) {
	op := "verify static delta " + name.String()
	if _, err := ParseDeltaName(name.String()); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	return r.verifyDelta(ctx, op, name.String(), signer)
}

// VerifyStaticDeltaFile is VerifyStaticDelta for the delta in a file.
//
// C: ostree_repo_static_delta_verify_signature
func (r *Repo) VerifyStaticDeltaFile(ctx context.Context, path string, signer *Signer) (text string, err error) {
	if !strings.Contains(path, "/") {
		path = "./" + path // otherwise it would be a name
	}
	return r.verifyDelta(ctx, "verify static delta "+path, path, signer)
}

func (r *Repo) verifyDelta(ctx context.Context, op, id string, signer *Signer) (string, error) {
	var a arena
	defer a.free()
	cid := a.str(id)
	if a.err != nil {
		return "", fmt.Errorf("%s: %w", op, a.err)
	}
	var out *C.char
	err := callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_static_delta_verify_signature(r.c(), cid, signer.c(), &out, e)
	}, r.handle(), signer.handle())
	return takeString(out), err
}
