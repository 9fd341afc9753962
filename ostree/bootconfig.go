package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"unsafe"
)

// BootConfig is a boot loader entry, as of the Boot Loader Specification: keys such as "title", "version", "options", "linux" and
// "initrd". Not safe for concurrent use.
type BootConfig struct{ h handle }

func takeBootConfig(p *C.OstreeBootconfigParser) *BootConfig {
	b := &BootConfig{}
	b.h.own(unsafe.Pointer(p), objectUnref)
	return b
}

func (b *BootConfig) handle() *handle {
	if b == nil {
		return nil
	}
	return &b.h
}

func (b *BootConfig) c() *C.OstreeBootconfigParser { return (*C.OstreeBootconfigParser)(b.h.ptr) }

// NewBootConfig returns an empty entry.
//
// C: ostree_bootconfig_parser_new
func NewBootConfig() *BootConfig { return takeBootConfig(C.ostree_bootconfig_parser_new()) }

// ReadBootConfig reads an entry from a file. Lines that are not "key value" are left out; of several "initrd" all but the first are
// overlays. It returns ErrNotFound.
//
// C: ostree_bootconfig_parser_parse
func ReadBootConfig(ctx context.Context, path string) (*BootConfig, error) {
	op := "read boot entry " + path
	var a arena
	defer a.free()
	f := newFile(&a, path)
	defer fileUnref(f)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	b := NewBootConfig()
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_bootconfig_parser_parse(b.c(), f, c, e)
	}, b.handle())
	if err != nil {
		return nil, err
	}
	return b, nil
}

// ReadBootConfigAt is ReadBootConfig relative to the descriptor dirfd, or to the working directory if that is AtCWD.
//
// C: ostree_bootconfig_parser_parse_at
func ReadBootConfigAt(ctx context.Context, dirfd int, path string) (*BootConfig, error) {
	op := "read boot entry " + path
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil {
		return nil, fmt.Errorf("%s: %w", op, a.err)
	}
	b := NewBootConfig()
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_bootconfig_parser_parse_at(b.c(), C.int(dirfd), cpath, c, e)
	}, b.handle())
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Get returns the value of a key, "" if it is not set.
//
// C: ostree_bootconfig_parser_get
func (b *BootConfig) Get(key string) (value string) {
	var a arena
	defer a.free()
	ckey := a.str(key)
	if a.err != nil || b.handle().acquire() == nil {
		return ""
	}
	defer b.h.release()
	if p := C.ostree_bootconfig_parser_get(b.c(), ckey); p != nil {
		return C.GoString(p)
	}
	return ""
}

// Set sets a key, of ASCII letters, digits and "-", starting with a letter. A value is one line.
//
// C: ostree_bootconfig_parser_set
func (b *BootConfig) Set(key, value string) error {
	op := "set boot entry key " + key
	if !validBootKey(key) || strings.ContainsAny(value, "\n\r\x00") {
		return fmt.Errorf("%s: %w: key or value", op, ErrInvalidArgument)
	}
	var a arena
	defer a.free()
	ckey, cvalue := a.str(key), a.str(value)
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		C.ostree_bootconfig_parser_set(b.c(), ckey, cvalue)
		return 1
	}, b.handle())
}

func validBootKey(key string) bool {
	for i, c := range []byte(key) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return key != ""
}

// OverlayInitrds returns the paths of further initrds, in order.
//
// C: ostree_bootconfig_parser_get_overlay_initrds
func (b *BootConfig) OverlayInitrds() []string {
	if b.handle().acquire() == nil {
		return nil
	}
	defer b.h.release()
	p := C.ostree_bootconfig_parser_get_overlay_initrds(b.c())
	if p == nil {
		return nil
	}
	return copyStrv(p)
}

// SetOverlayInitrds replaces the further initrds. To have some, "initrd" must be set.
//
// C: ostree_bootconfig_parser_set_overlay_initrds
func (b *BootConfig) SetOverlayInitrds(paths []string) error {
	const op = "set overlay initrds"
	if len(paths) > 0 && b.Get("initrd") == "" { // libostree would assert
		return fmt.Errorf("%s: %w: no initrd", op, ErrInvalidArgument)
	}
	for _, p := range paths {
		if strings.ContainsAny(p, "\n\r\x00") {
			return fmt.Errorf("%s: %w: %q", op, ErrInvalidArgument, p)
		}
	}
	var a arena
	defer a.free()
	list := a.strv(append([]string{}, paths...))
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		C.ostree_bootconfig_parser_set_overlay_initrds(b.c(), list)
		return 1
	}, b.handle())
}

// Write replaces the file at path by the entry, keys in the order of the specification.
//
// C: ostree_bootconfig_parser_write
func (b *BootConfig) Write(ctx context.Context, path string) error {
	op := "write boot entry " + path
	var a arena
	defer a.free()
	f := newFile(&a, path)
	defer fileUnref(f)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_bootconfig_parser_write(b.c(), f, c, e)
	}, b.handle())
}

// WriteAt is Write relative to the descriptor dirfd, or to the working directory if that is AtCWD.
//
// C: ostree_bootconfig_parser_write_at
func (b *BootConfig) WriteAt(ctx context.Context, dirfd int, path string) error {
	op := "write boot entry " + path
	var a arena
	defer a.free()
	cpath := a.str(path)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_bootconfig_parser_write_at(b.c(), C.int(dirfd), cpath, c, e)
	}, b.handle())
}

// TriesLeft returns how often the boot loader may still try the entry (automatic boot assessment), 0 where the entry's file name does not
// say. Needs libostree 2025.3.
//
// C: ostree_bootconfig_parser_get_tries_left
func (b *BootConfig) TriesLeft() (uint64, error) {
	return b.tries("tries left of boot entry", "ostree_bootconfig_parser_get_tries_left")
}

// TriesDone returns how often the boot loader tried the entry without its having been found good. Needs libostree 2025.3.
//
// C: ostree_bootconfig_parser_get_tries_done
func (b *BootConfig) TriesDone() (uint64, error) {
	return b.tries("tries done of boot entry", "ostree_bootconfig_parser_get_tries_done")
}

func (b *BootConfig) tries(op, name string) (n uint64, err error) {
	fn := symbol(name)
	if fn == nil {
		return 0, unsupported(op, FeatureBootTries)
	}
	err = callFast(context.Background(), op, func(**C.GError) C.gboolean {
		n = uint64(C.shim_bootconfig_tries(fn, b.c()))
		return 1
	}, b.handle())
	return n, err
}

// Clone returns a copy.
//
// C: ostree_bootconfig_parser_clone
func (b *BootConfig) Clone() *BootConfig {
	if b.handle().acquire() == nil {
		return nil
	}
	defer b.h.release()
	return takeBootConfig(C.ostree_bootconfig_parser_clone(b.c()))
}

// BootEntry returns a copy of the boot loader entry. Of a deployment that is staged or not written yet it lacks "linux" and "initrd"; nil for
// one of NewDeployment.
//
// C: ostree_deployment_get_bootconfig, ostree_bootconfig_parser_clone
func (d *Deployment) BootEntry() *BootConfig {
	defer runtime.KeepAlive(d)
	b := C.ostree_deployment_get_bootconfig(d.c())
	if b == nil {
		return nil
	}
	return takeBootConfig(C.ostree_bootconfig_parser_clone(b))
}

// SetBootEntry replaces the boot loader entry in memory: WriteDeployments writes a deployment with the entry's "options" as kernel arguments,
// and other keys as they are. Use it on a Clone, or the Sysroot's own changes. The entry is copied.
//
// C: ostree_deployment_set_bootconfig
func (d *Deployment) SetBootEntry(b *BootConfig) error {
	const op = "set boot entry"
	if d == nil {
		return fmt.Errorf("%s: %w: %w", op, ErrInvalidArgument, errNilDeployment)
	}
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		clone := C.ostree_bootconfig_parser_clone(b.c())
		defer C.g_object_unref(C.gpointer(unsafe.Pointer(clone)))
		C.ostree_deployment_set_bootconfig(d.c(), clone)
		return 1
	}, d.handle(), b.handle())
}
