package ostree

// #include "shim_newer.h"
import "C"

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/ostree-container/ostree-container/keyfile"
)

// keyFileFromC copies a GKeyFile that stays C's; nil for NULL.
func keyFileFromC(k *C.GKeyFile) (*keyfile.File, error) {
	if k == nil {
		return nil, nil //nolint:nilnil // no key file is not an error
	}
	var n C.gsize
	p := C.g_key_file_to_data(k, &n, nil)
	defer C.g_free(C.gpointer(unsafe.Pointer(p)))
	return keyfile.Parse(C.GoBytes(unsafe.Pointer(p), C.int(n)))
}

// keyFileToC makes a GKeyFile that the caller unrefs; NULL for nil.
func keyFileToC(f *keyfile.File) (*C.GKeyFile, error) {
	if f == nil {
		return nil, nil //nolint:nilnil // no key file is not an error
	}
	data := f.Bytes()
	k := C.g_key_file_new()
	var gerr *C.GError
	const flags = C.G_KEY_FILE_KEEP_COMMENTS | C.G_KEY_FILE_KEEP_TRANSLATIONS
	var a arena
	defer a.free()
	p := C.CBytes(data)
	a.ptrs = append(a.ptrs, p)
	if C.g_key_file_load_from_data(k, (*C.gchar)(p), C.gsize(len(data)), flags, &gerr) == 0 {
		C.g_key_file_unref(k)
		return nil, takeError("key file", gerr)
	}
	return k, nil
}

func keyFileFree(k *C.GKeyFile) {
	if k != nil {
		C.g_key_file_unref(k)
	}
}

// Config returns a copy of the repository's config, as read when it was opened or last reloaded.
//
// C: ostree_repo_copy_config
func (r *Repo) Config() (*keyfile.File, error) {
	var k *C.GKeyFile
	if !r.with(func(c *C.OstreeRepo) { k = C.ostree_repo_copy_config(c) }) {
		return nil, fmt.Errorf("read repository config: %w", ErrClosed)
	}
	defer keyFileFree(k)
	return keyFileFromC(k)
}

// WriteConfig replaces the config file and reloads it. Remotes kept in remotes.d may not be in it: ErrExists.
//
// C: ostree_repo_write_config
func (r *Repo) WriteConfig(f *keyfile.File) error {
	return r.writeConfig(f, func(k *C.GKeyFile, e **C.GError) C.gboolean { return C.ostree_repo_write_config(r.c(), k, e) })
}

const opWriteConfig = "write repository config"

func (r *Repo) writeConfig(f *keyfile.File, write func(*C.GKeyFile, **C.GError) C.gboolean) error {
	if f == nil {
		return fmt.Errorf("%s: %w: nil", opWriteConfig, ErrInvalidArgument)
	}
	k, err := keyFileToC(f)
	if err != nil {
		return fmt.Errorf("%s: %w", opWriteConfig, err)
	}
	defer keyFileFree(k)
	return callFast(context.Background(), opWriteConfig, func(e **C.GError) C.gboolean { return write(k, e) }, r.handle())
}

// WriteConfigAndReload is WriteConfig that first looks whether the repository can be opened with the new config, and writes nothing where it
// cannot. Needs libostree 2025.3.
//
// C: ostree_repo_write_config_and_reload
func (r *Repo) WriteConfigAndReload(f *keyfile.File) error {
	fn := symbol(features[FeatureConfigReload].symbol)
	if fn == nil {
		return unsupported(opWriteConfig, FeatureConfigReload)
	}
	return r.writeConfig(f, func(k *C.GKeyFile, e **C.GError) C.gboolean { return C.shim_repo_keyfile(fn, r.c(), k, e) })
}

// ReloadConfig reads the config file again.
//
// C: ostree_repo_reload_config
func (r *Repo) ReloadConfig(ctx context.Context) error {
	return call(ctx, "reload repository config", func(c *C.GCancellable, e **C.GError) C.gboolean {
		return C.ostree_repo_reload_config(r.c(), c, e)
	}, r.handle())
}
