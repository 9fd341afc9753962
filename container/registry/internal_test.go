package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/image/v5/signature"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ostree-container/ostree-container/container/imageref"
)

func touch(t *testing.T, paths ...string) {
	t.Helper()
	for _, path := range paths {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	}
}

func TestOSTreeAuthFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "runtime"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	opts := &Options{Access: Access{RootDir: filepath.Join(dir, "root")}}
	steps := []struct {
		uid   int
		files []string // the last first
	}{
		{0, []string{"root/usr/lib/ostree/auth.json", "root/etc/ostree/auth.json", "root/run/ostree/auth.json"}},
		{1000, []string{"config/ostree/auth.json", "runtime/ostree/auth.json"}},
	}
	defer func() { getuid = os.Getuid }()
	for _, step := range steps {
		getuid = func() int { return step.uid }
		got, err := opts.ostreeAuthFile()
		require.NoError(t, err)
		assert.Empty(t, got)
		sys, err := opts.system()
		require.NoError(t, err)
		assert.Empty(t, sys.AuthFilePath)
		require.NotNil(t, sys.DockerAuthConfig, "anonymous")
		for _, file := range step.files {
			touch(t, filepath.Join(dir, file))
			got, err := opts.ostreeAuthFile()
			require.NoError(t, err)
			assert.Equal(t, filepath.Join(dir, file), got)
			sys, err := opts.system()
			require.NoError(t, err)
			assert.Equal(t, got, sys.AuthFilePath)
			assert.Nil(t, sys.DockerAuthConfig)
		}
	}
	// Without the variables, as GLib does.
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	touch(t, filepath.Join(dir, "home/.config/ostree/auth.json"))
	got, err := opts.ostreeAuthFile()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "home/.config/ostree/auth.json"), got)
	// Podman's files are not looked at unless asked for.
	sys, err := (&Options{Access: Access{Auth: AuthDefault}}).system()
	require.NoError(t, err)
	assert.Empty(t, sys.AuthFilePath)
	assert.Nil(t, sys.DockerAuthConfig)
}

func TestPolicyPath(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", filepath.Join(dir, "home"))
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("CONTAINERS_POLICY_JSON", "")
	inRoot := &Options{Access: Access{RootDir: filepath.Join(dir, "root")}}
	require.NoError(t, os.MkdirAll(inRoot.RootDir, 0o700))

	_, err := inRoot.policyPath()
	require.ErrorIs(t, err, ErrNoPolicy)
	require.EqualError(t, err, "No containers policy.json found; checked /etc/containers/policy.json, /usr/share/containers/policy.json")

	usr, etc := filepath.Join(inRoot.RootDir, "usr/share/containers/policy.json"), filepath.Join(inRoot.RootDir, "etc/containers/policy.json")
	touch(t, usr)
	got, err := inRoot.policyPath()
	require.NoError(t, err)
	assert.Equal(t, usr, got)

	// A broken link falls through, an absolute one stays inside the root.
	require.NoError(t, os.MkdirAll(filepath.Dir(etc), 0o700))
	require.NoError(t, os.Symlink("/srv/../srv/real.json", etc))
	got, err = inRoot.policyPath()
	require.NoError(t, err)
	assert.Equal(t, usr, got)
	touch(t, filepath.Join(inRoot.RootDir, "srv/real.json"))
	got, err = inRoot.policyPath()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(inRoot.RootDir, "srv/real.json"), got)
	require.NoError(t, os.Remove(etc))
	require.NoError(t, os.Symlink("../../../../../../srv/real.json", etc))
	got, err = inRoot.policyPath()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(inRoot.RootDir, "srv/real.json"), got)
	require.NoError(t, os.Remove(etc))
	require.NoError(t, os.Symlink("policy.json", etc))
	_, err = inRoot.policyPath()
	require.ErrorContains(t, err, "too many symbolic links")

	host := &Options{}
	home := filepath.Join(dir, "home/.config/containers/policy.json")
	touch(t, home)
	got, err = host.policyPath()
	require.NoError(t, err)
	assert.Equal(t, home, got)
	xdg := filepath.Join(dir, "xdg/containers/policy.json")
	touch(t, xdg)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "xdg"))
	got, err = host.policyPath()
	require.NoError(t, err)
	assert.Equal(t, xdg, got)
	t.Setenv("CONTAINERS_POLICY_JSON", filepath.Join(dir, "none"))
	_, err = host.policyPath()
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "CONTAINERS_POLICY_JSON")
	touch(t, filepath.Join(dir, "env"))
	t.Setenv("CONTAINERS_POLICY_JSON", filepath.Join(dir, "env"))
	got, err = host.policyPath()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "env"), got)
	got, err = (&Options{PolicyPath: "/x"}).policyPath()
	require.NoError(t, err)
	assert.Equal(t, "/x", got)
	// Variables of the environment do not count inside another root.
	got, err = (&Options{Access: Access{RootDir: filepath.Join(dir, "xdg")}}).policyPath()
	require.ErrorIs(t, err, ErrNoPolicy, got)
}

func TestB12_InsecureDefault(t *testing.T) {
	t.Parallel()
	const accept, reject = `{"type":"insecureAcceptAnything"}`, `{"type":"reject"}`
	tests := []struct {
		name, policy string
		insecure     bool
	}{
		{"one", `{"default":[` + accept + `]}`, true},
		{"two", `{"default":[` + accept + `,` + accept + `]}`, false},
		{"reject", `{"default":[` + reject + `]}`, false},
		{"one with a strict transport", `{"default":[` + accept + `],"transports":{"docker":{"":[` + reject + `]}}}`, true},
		{"a permissive transport slips through", `{"default":[` + reject + `],"transports":{"docker":{"":[` + accept + `]}}}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "policy.json")
			require.NoError(t, os.WriteFile(path, []byte(tt.policy), 0o600))
			opts := &Options{PolicyPath: path}
			_, err := opts.policy(imageref.SignatureSource{})
			if tt.insecure {
				require.ErrorIs(t, err, ErrInsecurePolicy)
				require.EqualError(t, err, path+": containers-policy.json specifies a default of `insecureAcceptAnything`; refusing usage")
			} else {
				require.NoError(t, err)
			}
			for _, kind := range []imageref.SignatureKind{imageref.SignatureInsecure, imageref.SignatureOSTreeRemote} {
				_, err := opts.policy(imageref.SignatureSource{Kind: kind})
				require.NoError(t, err)
			}
		})
	}
}

func TestNoPolicy(t *testing.T) {
	t.Parallel()
	opts := &Options{Access: Access{RootDir: t.TempDir()}}
	_, err := opts.policy(imageref.SignatureSource{})
	require.ErrorIs(t, err, ErrNoPolicy)
	_, err = opts.policy(imageref.SignatureSource{Kind: imageref.SignatureInsecure})
	require.NoError(t, err)
	opts.RequireSigned = true
	_, err = opts.policy(imageref.SignatureSource{Kind: imageref.SignatureInsecure})
	require.ErrorIs(t, err, ErrNoPolicy)
}

func TestRequireSigned(t *testing.T) {
	t.Parallel()
	const (
		accept   = `[{"type":"insecureAcceptAnything"}]`
		reject   = `[{"type":"reject"}]`
		signed   = `[{"type":"signedBy","keyType":"GPGKeys","keyData":"eA=="}]`
		sigstore = `[{"type":"sigstoreSigned","keyData":"eA=="}]`
		base     = `[{"type":"insecureAcceptAnything"},{"type":"signedBaseLayer","baseLayerIdentity":{"type":"matchExact"}}]`
		both     = `[{"type":"insecureAcceptAnything"},{"type":"signedBy","keyType":"GPGKeys","keyData":"eA=="}]`
	)
	docker := func(scope, reqs string) string {
		return `{"default":` + signed + `,"transports":{"docker":{"` + scope + `":` + reqs + `}}}`
	}
	tests := []struct {
		name, policy string
		scope        string // that is named in the refusal; "" if it is accepted
	}{
		{"default accepts", `{"default":` + accept + `}`, "default"},
		{"default signed", `{"default":` + signed + `}`, ""},
		{"default sigstore", `{"default":` + sigstore + `}`, ""},
		{"default rejects", `{"default":` + reject + `}`, ""},
		{"base layer only", `{"default":` + base + `}`, "default"},
		{"one of two", `{"default":` + both + `}`, ""},
		{"transport accepts", docker("", accept), `transports.docker.""`},
		{"host accepts", docker("quay.io", accept), `transports.docker."quay.io"`},
		{"repository accepts", docker("quay.io/a/b", accept), `transports.docker."quay.io/a/b"`},
		{"image accepts", docker("quay.io/a/b:v1", accept), `transports.docker."quay.io/a/b:v1"`},
		{"domain accepts", docker("*.io", accept), `transports.docker."*.io"`},
		{"another host accepts", docker("example.com", accept), ""},
		{"another image accepts", docker("quay.io/a/b:v2", accept), ""},
	}
	ref, err := registryReference("quay.io/a/b:v1")
	require.NoError(t, err)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			policy, err := signature.NewPolicyFromBytes([]byte(tt.policy))
			require.NoError(t, err)
			err = requireSigned(policy, ref)
			if tt.scope == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrPolicyRejected)
			require.EqualError(t, err, "rejected by policy: "+tt.scope+" asks for no signature, and a signature is required")
		})
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	r := &redactor{}
	r.addAccount("user", `p"a s/s`)
	r.add("ab") // too short to look for
	for in, want := range map[string]string{
		`wrong: p"a s/s`:                            "wrong: [redacted]",
		`json "p\"a s/s"`:                           `json "[redacted]"`,
		"query ?x=p%22a+s%2Fs":                      "query ?x=[redacted]",
		"Basic dXNlcjpwImEgcy9z and ab":             "Basic [redacted] and ab",
		"https://user:secret@example.com/x":         "https://[redacted]@example.com/x",
		"https://example.com/v2/?n=5&sig=abc ":      "https://example.com/v2/?n=5&sig=[redacted] ",
		`Get "https://x/t?service=s&account=me": y`: `Get "https://x/t?service=s&account=[redacted]": y`,
		"basic authentication required":             "basic authentication required",
		"missing realm in bearer auth challenge":    "missing realm in bearer auth challenge",
		"Bearer abc123def":                          "Bearer [redacted]",
		`body start "{\"token\":\"xyz\",\"a\":1"`:   `body start "{\"token\":\"[redacted]\",\"a\":1"`,
		`{"access_token": "xyz"}`:                   `{"access_token": "[redacted]"}`,
		"docker://quay.io/a/b:t@sha256:2c26":        "docker://quay.io/a/b:t@sha256:2c26",
	} {
		assert.Equal(t, want, r.redact(in))
	}
}

// A cause that shows a secret cannot be reached, what it is can.
func TestErrorHidesCause(t *testing.T) {
	t.Parallel()
	r := &redactor{}
	r.add("hunter2")
	cause := fmt.Errorf("hunter2: %w: %w: %w", io.ErrUnexpectedEOF, errDropped, ErrTooLarge)
	err := newError(t.Context(), "op", cause, 3, r)
	require.EqualError(t, err, "op: [redacted]: unexpected EOF: connection dropped: too large (tried 3 times)")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorIs(t, err, ErrTooLarge)
	require.NotErrorIs(t, err, cause)
	assert.True(t, temporary(err))
	assert.False(t, Retryable(err))
	assert.True(t, Retryable(newError(t.Context(), "op", cause, 1, r)))
	require.ErrorIs(t, newError(t.Context(), "op", errors.Join(errDropped), 1, r), errDropped)
	require.NoError(t, newError(context.Background(), "op", nil, 0, r))
}

func TestRetryable(t *testing.T) {
	t.Parallel()
	for _, err := range []error{
		nil, errors.New("x"), io.EOF, io.ErrUnexpectedEOF, context.Canceled, fs.ErrNotExist,
		&DigestError{}, &SizeError{}, ErrPolicyRejected, fmt.Errorf("%w: %w", ErrStalled, context.Canceled),
	} {
		assert.False(t, Retryable(err), "%v", err)
	}
	for _, err := range []error{ErrStalled, errDropped, fmt.Errorf("x: %w", ErrStalled)} {
		assert.True(t, Retryable(err), "%v", err)
	}
}

func TestRegistryReference(t *testing.T) {
	t.Parallel()
	const sum = "@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
	for in, want := range map[string]string{
		"quay.io/a/b":               "//quay.io/a/b:latest",
		"quay.io/a/b:v1":            "//quay.io/a/b:v1",
		"quay.io/a/b" + sum:         "//quay.io/a/b" + sum,
		"quay.io/a/b:v1" + sum:      "//quay.io/a/b" + sum,
		"localhost:5000/x:v1" + sum: "//localhost:5000/x" + sum,
		"busybox":                   "//busybox:latest",
	} {
		got, err := registryReference(in)
		require.NoError(t, err, in)
		assert.Equal(t, want, got.StringWithinTransport())
	}
	for _, in := range []string{"", "A/b", strings.Repeat("a", 300)} {
		_, err := registryReference(in)
		require.ErrorIs(t, err, imageref.ErrInvalidReference, in)
	}
}
