package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"unsafe"
)

// KernelArgs is a kernel command line: "key" or "key=value" arguments in order; a key may be there
// several times. Not safe for concurrent use.
type KernelArgs struct{ h handle }

func takeKernelArgs(p *C.OstreeKernelArgs) *KernelArgs {
	k := &KernelArgs{}
	k.h.own(unsafe.Pointer(p), kargsFree)
	return k
}

func kargsFree(p unsafe.Pointer) { C.ostree_kernel_args_free((*C.OstreeKernelArgs)(p)) }

// NewKernelArgs returns an empty command line.
//
// C: ostree_kernel_args_new
func NewKernelArgs() *KernelArgs { return takeKernelArgs(C.ostree_kernel_args_new()) }

// ParseKernelArgs splits a command line at each space, up to the first NUL. Two spaces have an empty argument between them.
//
// C: ostree_kernel_args_from_string
func ParseKernelArgs(options string) *KernelArgs {
	var a arena
	defer a.free()
	return takeKernelArgs(C.ostree_kernel_args_from_string(a.str(options)))
}

func (k *KernelArgs) c() *C.OstreeKernelArgs { return (*C.OstreeKernelArgs)(k.h.ptr) }

// with passes arg to fn, which edits; "" and NUL are errors.
func (k *KernelArgs) with(op, arg string, fn func(arg *C.char, e **C.GError) C.gboolean) error {
	op += " kernel argument " + arg
	var a arena
	defer a.free()
	carg := a.str(arg)
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	if arg == "" {
		return fmt.Errorf("%s: %w: empty", op, ErrInvalidArgument)
	}
	return callFast(context.Background(), op, func(e **C.GError) C.gboolean { return fn(carg, e) }, &k.h)
}

// Append adds arg at the end.
//
// C: ostree_kernel_args_append
func (k *KernelArgs) Append(arg string) error {
	return k.with("append", arg, func(arg *C.char, _ **C.GError) C.gboolean {
		C.ostree_kernel_args_append(k.c(), arg)
		return 1
	})
}

// AppendIfMissing adds arg unless its key is there, with whatever value.
//
// C: ostree_kernel_args_append_if_missing
func (k *KernelArgs) AppendIfMissing(arg string) error {
	return k.with("append", arg, func(arg *C.char, _ **C.GError) C.gboolean {
		C.ostree_kernel_args_append_if_missing(k.c(), arg)
		return 1
	})
}

// Replace drops all arguments with arg's key and puts arg there.
//
// C: ostree_kernel_args_replace
func (k *KernelArgs) Replace(arg string) error {
	return k.with("replace", arg, func(arg *C.char, _ **C.GError) C.gboolean {
		C.ostree_kernel_args_replace(k.c(), arg)
		return 1
	})
}

// NewReplace replaces the value of a key that is there once ("key=new"), or one of several values ("key=old=new"). An error says why not.
//
// C: ostree_kernel_args_new_replace
func (k *KernelArgs) NewReplace(arg string) error {
	return k.with("replace", arg, func(arg *C.char, e **C.GError) C.gboolean {
		return C.ostree_kernel_args_new_replace(k.c(), arg, e)
	})
}

// Delete removes "key" (there once) or "key=value". An error says why not.
//
// C: ostree_kernel_args_delete
func (k *KernelArgs) Delete(arg string) error {
	return k.with("delete", arg, func(arg *C.char, e **C.GError) C.gboolean {
		return C.ostree_kernel_args_delete(k.c(), arg, e)
	})
}

// DeleteIfPresent is Delete for an argument that may not be there.
//
// C: ostree_kernel_args_delete_if_present
func (k *KernelArgs) DeleteIfPresent(arg string) error {
	return k.with("delete", arg, func(arg *C.char, e **C.GError) C.gboolean {
		return C.ostree_kernel_args_delete_if_present(k.c(), arg, e)
	})
}

// DeleteKey removes all arguments with a key.
//
// C: ostree_kernel_args_delete_key_entry
func (k *KernelArgs) DeleteKey(key string) error {
	return k.with("delete", key, func(key *C.char, e **C.GError) C.gboolean {
		return C.ostree_kernel_args_delete_key_entry(k.c(), key, e)
	})
}

// Contains reports whether arg's key is there, with whatever value.
//
// C: ostree_kernel_args_contains
func (k *KernelArgs) Contains(arg string) bool {
	var has C.gboolean
	err := k.with("look for", arg, func(arg *C.char, _ **C.GError) C.gboolean {
		has = C.ostree_kernel_args_contains(k.c(), arg)
		return 1
	})
	return err == nil && has != 0
}

// LastValue returns the last value of a key: false if the key is not there, or has no value the last time.
//
// C: ostree_kernel_args_get_last_value
func (k *KernelArgs) LastValue(key string) (value string, ok bool) {
	_ = k.with("look for", key, func(key *C.char, _ **C.GError) C.gboolean {
		if p := C.ostree_kernel_args_get_last_value(k.c(), key); p != nil {
			value, ok = C.GoString(p), true
		}
		return 1
	})
	return value, ok
}

// Strings returns the arguments.
//
// C: ostree_kernel_args_to_strv
func (k *KernelArgs) Strings() (list []string) {
	if k.h.acquire() == nil {
		return nil
	}
	defer k.h.release()
	return takeStrv(C.ostree_kernel_args_to_strv(k.c()))
}

// String returns the command line.
//
// C: ostree_kernel_args_to_string
func (k *KernelArgs) String() string {
	if k.h.acquire() == nil {
		return ""
	}
	defer k.h.release()
	return takeString(C.ostree_kernel_args_to_string(k.c()))
}
