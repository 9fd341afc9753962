package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"unsafe"
)

// KernelArgs is a kernel command line: "key" or "key=value" arguments in order; a key may be there
// several times. Not safe for concurrent use.
//
// C: ostree_kernel_args_free
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

// ParseKernelArgs splits a command line at each space, up to the first NUL. What that means depends on the libostree:
//
//   - Before 2024.5 two spaces have an empty argument between them, and quotes mean nothing.
//   - Since 2024.5 a part in double quotes stays together; the quotes are kept.
//   - Since 2026.2 there are no empty arguments, and what is appended later is split as well.
//
// C: ostree_kernel_args_from_string
func ParseKernelArgs(options string) *KernelArgs {
	var a arena
	defer a.free()
	return takeKernelArgs(C.ostree_kernel_args_from_string(a.str(closeQuote(options))))
}

// closeQuote ends a quote that is left open, on which libostree aborts from 2024.5 to 2026.1.
func closeQuote(s string) string {
	if strings.Count(s, `"`)%2 == 1 && AtLeast(2024, 5) && !AtLeast(2026, 2) {
		s += `"`
	}
	return s
}

func (k *KernelArgs) c() *C.OstreeKernelArgs { return (*C.OstreeKernelArgs)(k.h.ptr) }

// with passes arg to fn, which edits; "" and NUL are errors.
func (k *KernelArgs) with(op, arg string, fn func(arg *C.char, e **C.GError) C.gboolean) error {
	op += " kernel argument " + arg
	var a arena
	defer a.free()
	carg := a.str(closeQuote(arg))
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

// strings passes args and prefixes to fn, which edits; "" and NUL are errors, and then nothing is changed.
func (k *KernelArgs) strings(op string, args, prefixes []string, fn func(args, prefixes **C.char)) error {
	op += " kernel arguments"
	var a arena
	defer a.free()
	closed := make([]string, len(args))
	for i, s := range args {
		closed[i] = closeQuote(s)
	}
	cargs, cprefixes := a.strv(closed), a.strv(append([]string{}, prefixes...))
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	if slices.Contains(args, "") || slices.Contains(prefixes, "") {
		return fmt.Errorf("%s: %w: empty", op, ErrInvalidArgument)
	}
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		fn(cargs, cprefixes)
		return 1
	}, &k.h)
}

// AppendArgv adds args at the end.
//
// C: ostree_kernel_args_append_argv
func (k *KernelArgs) AppendArgv(args []string) error {
	return k.strings("append", args, nil, func(args, _ **C.char) {
		C.ostree_kernel_args_append_argv(k.c(), args)
	})
}

// AppendArgvFiltered is AppendArgv that leaves out the args starting with one of prefixes.
//
// C: ostree_kernel_args_append_argv_filtered
func (k *KernelArgs) AppendArgvFiltered(args, prefixes []string) error {
	return k.strings("append", args, prefixes, func(args, prefixes **C.char) {
		C.ostree_kernel_args_append_argv_filtered(k.c(), args, prefixes)
	})
}

// AppendProcCmdline adds the arguments of the running kernel, from /proc/cmdline, but not those of the
// boot loader, BOOT_IMAGE= and initrd=.
//
// C: ostree_kernel_args_append_proc_cmdline
func (k *KernelArgs) AppendProcCmdline(ctx context.Context) error {
	const op = "append kernel arguments of the running kernel"
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	line := strings.TrimRight(string(b), "\n")
	if closed := closeQuote(line); closed != line {
		return k.AppendArgvFiltered(ParseKernelArgs(closed).Strings(), []string{"BOOT_IMAGE=", "initrd="})
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_kernel_args_append_proc_cmdline(k.c(), c, e)
	}, &k.h)
}

// ParseAppend splits a command line as ParseKernelArgs does, and adds its arguments at the end.
//
// C: ostree_kernel_args_parse_append
func (k *KernelArgs) ParseAppend(options string) error {
	const op = "append kernel arguments"
	var a arena
	defer a.free()
	c := a.str(closeQuote(options))
	if a.err != nil {
		return fmt.Errorf("%s: %w", op, a.err)
	}
	return callFast(context.Background(), op, func(**C.GError) C.gboolean {
		C.ostree_kernel_args_parse_append(k.c(), c)
		return 1
	}, &k.h)
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

// ReplaceArgv is Replace for each of args, in order.
//
// C: ostree_kernel_args_replace_argv
func (k *KernelArgs) ReplaceArgv(args []string) error {
	return k.strings("replace", args, nil, func(args, _ **C.char) {
		C.ostree_kernel_args_replace_argv(k.c(), args)
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

// DeleteIfPresent is Delete for a key that may not be there. One that is there without the value of arg is an error as with Delete.
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
