package registry_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/ocicrypt"
	"github.com/containers/ocicrypt/config"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/internal/testimage"
	"github.com/ostree-container/ostree-container/container/registry"
)

// A key provider is a program that an ocicrypt configuration of this host names, and the annotation that has it run is the image's. ocicrypt
// reads the configuration when a program begins, so that this is a test of its own program.
func TestNoKeyProviderRuns(t *testing.T) {
	const provider = "org.opencontainers.image.enc.keys.provider.evil"
	if ref := os.Getenv("OSTREE_CONTAINER_TEST_REF"); ref != "" {
		img := openImage(t, ref, withKeys(t, registry.DecryptionKey{File: os.Getenv("OSTREE_CONTAINER_TEST_KEY")}))
		if os.Getenv("OSTREE_CONTAINER_TEST_CONTROL") != "" { // the annotation is one that ocicrypt would act on
			_, _, err := ocicrypt.DecryptLayer(&config.DecryptConfig{}, strings.NewReader(""), img.Layers[0].Descriptor, true)
			require.Error(t, err)
			return
		}
		require.ErrorIs(t, img.CheckKey(0), registry.ErrEncrypted)
		_, err := readBlob(t, img, 0)
		require.ErrorIs(t, err, registry.ErrEncrypted)
		return
	}
	t.Parallel()
	w := sample().Write(t, t.TempDir(), "v1")
	key := testimage.NewEncryptionKey(t, "")
	enc := testimage.Encrypt(t, w.Ref, filepath.Join(t.TempDir(), "enc"), "v1", "jwe:"+key.Public)
	bad := testimage.Image{Base: enc, EditManifest: func(m *ocispec.Manifest) {
		l := &m.Layers[0]
		l.Annotations = map[string]string{encOpts: l.Annotations[encOpts], provider: base64.StdEncoding.EncodeToString([]byte("run"))}
	}}.Write(t, t.TempDir(), "bad")

	dir := t.TempDir()
	ran, script, conf := filepath.Join(dir, "ran"), filepath.Join(dir, "provider"), filepath.Join(dir, "ocicrypt.json")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\ncat > "+ran+"\n"), 0o700)) //nolint:gosec // a program
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, `{"key-providers":{"evil":{"cmd":{"path":%q}}}}`, script), 0o600))
	child := func(env ...string) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestNoKeyProviderRuns$")
		cmd.Env = append(os.Environ(), "OCICRYPT_KEYPROVIDER_CONFIG="+conf, "OSTREE_CONTAINER_TEST_REF="+bad.Ref, "OSTREE_CONTAINER_TEST_KEY="+key.Private)
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	child()
	assert.NoFileExists(t, ran)
	child("OSTREE_CONTAINER_TEST_CONTROL=1")
	assert.FileExists(t, ran)
}
