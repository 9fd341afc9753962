package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ostree-container/ostree-container/container"
)

// maxDetached is the largest detached metadata, in bytes: that of one metadata object.
const maxDetached = 10 << 20

func (a *app) replaceDetachedMetadataCommand() *cobra.Command {
	var source registryFlags
	cmd := &cobra.Command{
		Use:   "replace-detached-metadata [OPTION...] --src IMGREF --dest IMGREF [FILE]",
		Short: "Copy an image with other detached metadata for its commit",
		Long: `Copies an image with other detached metadata for its commit, for example with a signature, and
prints the digest of the new manifest. FILE holds a serialised GVariant of type a{sv}, as a
repository has it in a .commitmeta object. Without FILE the metadata is removed. Only the first
layer is written anew.`,
		Example: `  # Sign the commit in a repository, then bring the signature into the image
  ostree --repo=repo sign --sign-type=ed25519 --keys-file=key $COMMIT
  ostree-container container image replace-detached-metadata --src oci:unsigned --dest oci:signed \
      repo/objects/${COMMIT:0:2}/${COMMIT:2}.commitmeta`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("unexpected argument %q", args[1])
			}
			return nil
		},
	}
	src := cmd.Flags().String("src", "", "Copy this image: `IMGREF` (required)")
	dest := cmd.Flags().String("dest", "", "Write it to `IMGREF` (required)")
	source.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := required(cmd, "src", "dest"); err != nil {
			return err
		}
		if err := source.check(cmd); err != nil {
			return err
		}
		from, err := parseImageRef("--src", *src)
		if err != nil {
			return err
		}
		to, err := parseImageRef("--dest", *dest)
		if err != nil {
			return err
		}
		if err := source.oneRegistry(from, to); err != nil {
			return err
		}
		var metadata []byte
		if len(args) > 0 {
			if metadata, err = readDetached(cmd.Context(), args[0]); err != nil {
				return err
			}
		}
		opts := &container.ReplaceDetachedMetadataOptions{}
		if opts.Registry, err = source.options(cmd.Context(), a); err != nil {
			return err
		}
		push := pushFlags{source}
		if opts.Push, err = push.pushOptions(cmd.Context(), a); err != nil {
			return err
		}
		digest, err := container.ReplaceDetachedMetadata(cmd.Context(), from, to, metadata, opts)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "Pushed: %s\n", digest)
		return err
	}
	return cmd
}

func readDetached(ctx context.Context, path string) ([]byte, error) {
	file, err := openInput(ctx, path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(file, maxDetached+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if len(data) > maxDetached {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxDetached)
	}
	return data, nil
}
