package ostree

// #include "shim_pull.h"
import "C"

import (
	"context"
	"fmt"
	"time"
	"unsafe"
)

// AsyncProgress is a set of named values that a pull updates while it runs: give it to PullOptions.State and look at it from
// another goroutine. Keys are libostree's, for example "fetched" (uint), "bytes-transferred" (uint64), "caught-error"; PullProgress has
// the documented ones. Safe for concurrent use.
type AsyncProgress struct{ h handle }

// NewAsyncProgress returns an empty set.
//
// C: ostree_async_progress_new
func NewAsyncProgress() *AsyncProgress {
	p := &AsyncProgress{}
	p.h.own(unsafe.Pointer(C.ostree_async_progress_new()), objectUnref)
	return p
}

func (p *AsyncProgress) with(fn func(*C.OstreeAsyncProgress)) {
	if p == nil {
		return
	}
	if c := p.h.acquire(); c != nil {
		defer p.h.release()
		fn((*C.OstreeAsyncProgress)(c))
	}
}

// named enters C for a method on one key.
func (p *AsyncProgress) named(key string, fn func(*C.OstreeAsyncProgress, *C.char)) {
	var a arena
	defer a.free()
	if ckey := a.str(key); a.err == nil && key != "" {
		p.with(func(c *C.OstreeAsyncProgress) { fn(c, ckey) })
	}
}

// Variant returns the value of a key, nil if it is not set.
//
// C: ostree_async_progress_get_variant
func (p *AsyncProgress) Variant(key string) (v *Variant) {
	p.named(key, func(c *C.OstreeAsyncProgress, k *C.char) { v = takeVariant(C.ostree_async_progress_get_variant(c, k)) })
	return v
}

// Uint returns the value of a key, 0 if it is not set or something else.
//
// C: ostree_async_progress_get_uint
func (p *AsyncProgress) Uint(key string) (n uint32) {
	if p.Variant(key).TypeString() == "u" { // libostree would assert
		p.named(key, func(c *C.OstreeAsyncProgress, k *C.char) { n = uint32(C.ostree_async_progress_get_uint(c, k)) })
	}
	return n
}

// Uint64 returns the value of a key, 0 if it is not set or something else.
//
// C: ostree_async_progress_get_uint64
func (p *AsyncProgress) Uint64(key string) (n uint64) {
	if p.Variant(key).TypeString() == "t" {
		p.named(key, func(c *C.OstreeAsyncProgress, k *C.char) { n = uint64(C.ostree_async_progress_get_uint64(c, k)) })
	}
	return n
}

// Status returns the text of what is being done, "" for none.
//
// C: ostree_async_progress_get_status
func (p *AsyncProgress) Status() (s string) {
	p.with(func(c *C.OstreeAsyncProgress) { s = takeString(C.ostree_async_progress_get_status(c)) })
	return s
}

// SetVariant sets a key; v must not be nil. A key keeps its type.
//
// C: ostree_async_progress_set_variant
func (p *AsyncProgress) SetVariant(key string, v *Variant) error {
	if err := p.checkSet(key, v); err != nil {
		return err
	}
	return p.set(key, func(c *C.OstreeAsyncProgress, k *C.char) { C.ostree_async_progress_set_variant(c, k, v.c()) }, v.handle())
}

// set is for the keys of the caller's own.
func (p *AsyncProgress) set(key string, fn func(*C.OstreeAsyncProgress, *C.char), owners ...*handle) error {
	op := "progress " + key
	if p == nil {
		return fmt.Errorf("%s: %w", op, ErrClosed)
	}
	var a arena
	defer a.free()
	ckey := a.str(key)
	if a.err != nil || key == "" {
		return fmt.Errorf("%s: %w: key", op, ErrInvalidArgument)
	}
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		fn((*C.OstreeAsyncProgress)(p.h.ptr), ckey)
		return 1
	}, append(owners, &p.h)...)
}

// SetAll sets keys at once: who looks sees all of them or none. At most MaxSetAll; a key keeps its type.
//
// C: ostree_async_progress_set
func (p *AsyncProgress) SetAll(values map[string]*Variant) error {
	const op = "set progress"
	if p == nil {
		return fmt.Errorf("%s: %w", op, ErrClosed)
	}
	if len(values) > MaxSetAll {
		return fmt.Errorf("%s: %w: %d keys", op, ErrInvalidArgument, len(values))
	}
	var a arena
	defer a.free()
	var keys [MaxSetAll]*C.char
	var cvalues [MaxSetAll]*C.GVariant
	owners, n := []*handle{&p.h}, 0
	for key, v := range values {
		if err := p.checkSet(key, v); err != nil {
			return err
		}
		keys[n], cvalues[n] = a.str(key), v.c()
		owners, n = append(owners, v.handle()), n+1
	}
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		C.shim_progress_set((*C.OstreeAsyncProgress)(p.h.ptr), &keys[0], &cvalues[0])
		return 1
	}, owners...)
}

// MaxSetAll is how many keys AsyncProgress.SetAll takes.
const MaxSetAll = C.SHIM_PROGRESS_KEYS

// checkSet refuses an empty key, no value, and a type other than the key has.
func (p *AsyncProgress) checkSet(key string, v *Variant) error {
	switch t := p.Variant(key).TypeString(); {
	case key == "" || v == nil:
		return fmt.Errorf("progress %s: %w: no key or no value", key, ErrInvalidArgument)
	case t != "" && t != v.TypeString():
		return fmt.Errorf("progress %s: %w: want %q, found %q", key, ErrVariantType, t, v.TypeString())
	}
	return nil
}

// SetUint sets a key to a "u".
//
// C: ostree_async_progress_set_uint
func (p *AsyncProgress) SetUint(key string, n uint32) error {
	return p.set(key, func(c *C.OstreeAsyncProgress, k *C.char) { C.ostree_async_progress_set_uint(c, k, C.guint(n)) })
}

// SetUint64 sets a key to a "t".
//
// C: ostree_async_progress_set_uint64
func (p *AsyncProgress) SetUint64(key string, n uint64) error {
	return p.set(key, func(c *C.OstreeAsyncProgress, k *C.char) { C.ostree_async_progress_set_uint64(c, k, C.guint64(n)) })
}

// SetStatus sets the text of what is being done, "" for none.
//
// C: ostree_async_progress_set_status
func (p *AsyncProgress) SetStatus(status string) error {
	if err := checkText(status); err != nil {
		return fmt.Errorf("progress status: %w", err)
	}
	var a arena
	defer a.free()
	cstatus := a.opt(status)
	return p.set("status", func(c *C.OstreeAsyncProgress, _ *C.char) { C.ostree_async_progress_set_status(c, cstatus) })
}

// CopyState copies all values to dst, which nothing else may use meanwhile. After Finish nothing is copied.
//
// C: ostree_async_progress_copy_state
func (p *AsyncProgress) CopyState(dst *AsyncProgress) error {
	if dst == nil || p == dst {
		return fmt.Errorf("copy progress: %w", ErrInvalidArgument)
	}
	return p.set("copy", func(c *C.OstreeAsyncProgress, _ *C.char) {
		C.ostree_async_progress_copy_state(c, (*C.OstreeAsyncProgress)(dst.h.ptr))
	}, &dst.h)
}

// Finish ends it: what is set afterwards is not kept.
//
// C: ostree_async_progress_finish
func (p *AsyncProgress) Finish() {
	p.with(func(c *C.OstreeAsyncProgress) { C.ostree_async_progress_finish(c) })
}

// PullProgress counts what a pull did so far. Sizes are in bytes.
type PullProgress struct {
	Status             string    // what is being done, where libostree says so; "" while objects are fetched
	Fetched, Requested uint      // objects
	MetadataFetched    uint      // of them not content
	MetadataScanned    uint      // metadata objects looked at for what they need
	MetadataWaiting    uint      // fetches of metadata under way
	Fetching, Writing  uint      // fetches and writes under way
	MetadataCached     uint      // taken from a local repository (PullOptions.LocalCacheRepos)
	ContentCached      uint      // the same, content
	BytesTransferred   uint64    // over the network
	Start              time.Time // when fetching began, by the monotonic clock; for differences only
	Scanning           bool      // whether more may be requested
	Failed             bool      // an error was met; the pull is ending
	Delta              DeltaProgress
}

// DeltaProgress counts what a pull did so far with static deltas; all zero without them. Sizes are in bytes.
type DeltaProgress struct {
	PartsFetched, PartsTotal         uint
	FallbacksFetched, FallbacksTotal uint   // objects fetched one by one
	PartBytesFetched, PartBytesTotal uint64 // compressed
	PartBytesUncompressed            uint64 // of all parts
	Superblocks                      uint   // deltas
}

func pullProgress(p *C.shim_pull_progress) PullProgress {
	out := PullProgress{
		Fetched: uint(p.fetched), Requested: uint(p.requested), MetadataFetched: uint(p.metadata_fetched),
		MetadataScanned: uint(p.scanned_metadata), MetadataWaiting: uint(p.outstanding_metadata_fetches),
		Fetching: uint(p.outstanding_fetches), Writing: uint(p.outstanding_writes),
		MetadataCached: uint(p.metadata_cached), ContentCached: uint(p.content_cached),
		BytesTransferred: uint64(p.bytes_transferred), Scanning: p.scanning != 0, Failed: p.caught_error != 0,
		Delta: DeltaProgress{
			PartsFetched: uint(p.fetched_delta_parts), PartsTotal: uint(p.total_delta_parts),
			FallbacksFetched: uint(p.fetched_delta_fallbacks), FallbacksTotal: uint(p.total_delta_fallbacks),
			PartBytesFetched: uint64(p.fetched_delta_part_size), PartBytesTotal: uint64(p.total_delta_part_size),
			PartBytesUncompressed: uint64(p.total_delta_part_usize), Superblocks: uint(p.total_delta_superblocks),
		},
	}
	if p.status != nil {
		out.Status = C.GoString(p.status)
	}
	if p.start_time != 0 {
		out.Start = time.UnixMicro(int64(p.start_time))
	}
	return out
}
