package ostree

// #include "shim.h"
import "C"

import (
	"context"
	"fmt"
	"unsafe"
)

// Remotes returns the names of the configured remotes, those of the parent repository too.
//
// C: ostree_repo_remote_list
func (r *Repo) Remotes() (names []string) {
	r.with(func(c *C.OstreeRepo) {
		var n C.guint
		names = takeStrv(C.ostree_repo_remote_list(c, &n))
	})
	return names
}

// RemoteAdd configures a remote. options is an "a{sv}" of further keys, for example {'gpg-verify': <false>}; nil for none.
// It returns an error if the remote is there.
//
// C: ostree_repo_remote_add
func (r *Repo) RemoteAdd(ctx context.Context, name, url string, options *Variant) error {
	op := "add remote " + name
	var a arena
	defer a.free()
	cname, curl := a.str(name), a.opt(url)
	if err := checkRemote(&a, name, options); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	owners := []*handle{r.handle()}
	if options != nil {
		owners = append(owners, options.handle())
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_remote_add(r.c(), cname, curl, options.c(), c, e)
	}, owners...)
}

func checkRemote(a *arena, name string, options *Variant) error {
	if a.err != nil {
		return a.err
	}
	if name == "" {
		return fmt.Errorf("%w: no name", ErrInvalidArgument)
	}
	if options != nil {
		return options.want("a{sv}")
	}
	return nil
}

// RemoteDelete removes a remote and its keys. It returns ErrNotFound.
//
// C: ostree_repo_remote_delete
func (r *Repo) RemoteDelete(ctx context.Context, name string) error {
	op := "delete remote " + name
	var a arena
	defer a.free()
	cname := a.str(name)
	if err := checkRemote(&a, name, nil); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_remote_delete(r.c(), cname, c, e)
	}, r.handle())
}

// RemoteURL returns the url of a remote. It returns ErrNotFound.
//
// C: ostree_repo_remote_get_url
func (r *Repo) RemoteURL(name string) (string, error) {
	return r.remoteString("url of remote "+name, name, "", func(cname, _ *C.char, out **C.char, e **C.GError) C.gboolean {
		return C.ostree_repo_remote_get_url(r.c(), cname, out, e)
	})
}

// RemoteConfig returns a key of a remote's config, "" where it is not set. It returns ErrNotFound for the remote.
//
// C: ostree_repo_get_remote_option
func (r *Repo) RemoteConfig(name, key string) (string, error) {
	return r.remoteString("option "+key+" of remote "+name, name, key, func(cname, ckey *C.char, out **C.char, e **C.GError) C.gboolean {
		return C.ostree_repo_get_remote_option(r.c(), cname, ckey, nil, out, e)
	})
}

func (r *Repo) remoteString(op, name, key string, fn func(cname, ckey *C.char, out **C.char, e **C.GError) C.gboolean) (string, error) {
	var a arena
	defer a.free()
	cname, ckey := a.str(name), a.str(key)
	if err := checkRemote(&a, name, nil); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	var out *C.char
	err := callFast(context.Background(), op, func(e **C.GError) C.gboolean { return fn(cname, ckey, &out, e) }, r.handle())
	return takeString(out), err
}

// RemoteConfigBool reads a boolean key of a remote's config, fallback where it is not set. It returns ErrNotFound for the remote.
//
// C: ostree_repo_get_remote_boolean_option
func (r *Repo) RemoteConfigBool(name, key string, fallback bool) (bool, error) {
	var out C.gboolean
	_, err := r.remoteString("option "+key+" of remote "+name, name, key, func(cname, ckey *C.char, _ **C.char, e **C.GError) C.gboolean {
		return C.ostree_repo_get_remote_boolean_option(r.c(), cname, ckey, gbool(fallback), &out, e)
	})
	return out != 0, err
}

// RemoteConfigList reads a list key of a remote's config, nil where it is not set. It returns ErrNotFound for the remote.
//
// C: ostree_repo_get_remote_list_option
func (r *Repo) RemoteConfigList(name, key string) ([]string, error) {
	var out **C.char
	_, err := r.remoteString("option "+key+" of remote "+name, name, key, func(cname, ckey *C.char, _ **C.char, e **C.GError) C.gboolean {
		return C.ostree_repo_get_remote_list_option(r.c(), cname, ckey, &out, e)
	})
	return takeStrv(out), err
}

// RemoteGPGVerify reports whether commits of a remote must be signed with GPG. It returns ErrNotFound for the remote.
//
// C: ostree_repo_remote_get_gpg_verify
func (r *Repo) RemoteGPGVerify(name string) (bool, error) {
	var out C.gboolean
	_, err := r.remoteString("gpg-verify of remote "+name, name, "", func(cname, _ *C.char, _ **C.char, e **C.GError) C.gboolean {
		return C.ostree_repo_remote_get_gpg_verify(r.c(), cname, &out, e)
	})
	return out != 0, err
}

// RemoteGPGImport adds public keys, binary or armoured, to those of a remote; only keyIDs if there are any. It returns how many were added.
//
// C: ostree_repo_remote_gpg_import
func (r *Repo) RemoteGPGImport(ctx context.Context, name string, keys []byte, keyIDs []string) (int, error) {
	op := "import keys of remote " + name
	var a arena
	defer a.free()
	cname := a.str(name)
	var ids **C.char
	if len(keyIDs) > 0 {
		ids = a.strv(keyIDs)
	}
	if err := checkRemote(&a, name, nil); err != nil {
		return 0, fmt.Errorf("%s: %w", op, err)
	}
	bytes := C.g_bytes_new(C.gconstpointer(bytesPtr(keys)), C.gsize(len(keys)))
	defer C.g_bytes_unref(bytes)
	in := C.g_memory_input_stream_new_from_bytes(bytes)
	defer C.g_object_unref(C.gpointer(unsafe.Pointer(in)))
	var n C.guint
	err := call(ctx, op, func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_remote_gpg_import(r.c(), cname, in, ids, &n, c, e)
	}, r.handle())
	return int(n), err
}

// VerifyFlags leave kinds of signature out; they combine.
type VerifyFlags int

// Flags of SignatureVerifyCommitData.
const (
	VerifyAll       VerifyFlags = C.OSTREE_REPO_VERIFY_FLAGS_NONE
	VerifyNoGPG     VerifyFlags = C.OSTREE_REPO_VERIFY_FLAGS_NO_GPG
	VerifyNoSignAPI VerifyFlags = C.OSTREE_REPO_VERIFY_FLAGS_NO_SIGNAPI
)

// SignatureVerifyCommitData checks the signatures in commitMetadata (serialized "a{sv}", the detached metadata) over
// a serialized commit object, as the config of a remote asks. The text describes the
// signatures found. A remote that asks for none is an error. The commit need not be in the repository.
//
// C: ostree_repo_signature_verify_commit_data
func (r *Repo) SignatureVerifyCommitData(ctx context.Context, remote string, commit, commitMetadata []byte, flags VerifyFlags) (text string, err error) {
	op := "verify commit with remote " + remote
	var a arena
	defer a.free()
	cremote := a.str(remote)
	if err := checkRemote(&a, remote, nil); err != nil {
		return "", fmt.Errorf("%s: %w", op, err)
	}
	data := C.g_bytes_new(C.gconstpointer(bytesPtr(commit)), C.gsize(len(commit)))
	defer C.g_bytes_unref(data)
	var meta *C.GBytes
	if commitMetadata != nil {
		meta = C.g_bytes_new(C.gconstpointer(bytesPtr(commitMetadata)), C.gsize(len(commitMetadata)))
		defer C.g_bytes_unref(meta)
	}
	var out *C.char
	err = callFast(ctx, op, func(e **C.GError) C.gboolean {
		return C.ostree_repo_signature_verify_commit_data(r.c(), cremote, data, meta, C.OstreeRepoVerifyFlags(flags), &out, e)
	}, r.handle())
	return takeString(out), err
}
