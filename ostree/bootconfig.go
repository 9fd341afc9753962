package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
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
