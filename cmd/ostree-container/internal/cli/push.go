package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container/registry"
)

// pushFlags are the options about how an image is sent to a registry.
type pushFlags struct{ registryFlags }

func (f *pushFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.authFile, "authfile", "", "Take credentials for the destination from the auth.json `FILE` (default: those of podman and docker)")
	flags.BoolVar(&f.anonymous, "auth-anonymous", false, "Use no credentials")
	flags.StringVar(&f.creds, "creds", "", "Log in as `USER[:PASSWORD]`; without a password it is read from standard input")
	flags.StringVar(&f.certDir, "cert-dir", "", certDirUsage)
	flags.BoolVar(&f.insecureTLS, "insecure-skip-tls-verification", false, "Accept any TLS certificate, and plain HTTP")
	_ = cmd.MarkFlagFilename("authfile", "json")
	_ = cmd.MarkFlagDirname("cert-dir")
}

func (f *pushFlags) check(cmd *cobra.Command) error {
	if err := exclusive(cmd, "authfile", "auth-anonymous", "creds"); err != nil {
		return usagef("Conflicting authentication options: %w", err)
	}
	return f.checkCreds(cmd)
}

// pushOptions turns the flags into what package registry takes. It may ask for a password.
func (f *pushFlags) pushOptions(ctx context.Context, a *app) (*registry.PushOptions, error) {
	o, err := f.options(ctx, a)
	if err != nil {
		return nil, err
	}
	return &registry.PushOptions{Access: o.Access, Logger: a.log}, nil
}
