package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ostree-container/ostree-container/container/imageref"
	"github.com/ostree-container/ostree-container/container/registry"
	"github.com/ostree-container/ostree-container/ostree"
)

// certDirUsage is the help of --cert-dir. A user who is not root may also have certificates in ~/.config/containers/certs.d.
const certDirUsage = "`DIRECTORY` with certificates (*.crt, *.cert, *.key) for the registry (default: HOST:PORT in /etc/containers/certs.d, /etc/docker/certs.d)"

// registryFlags are the options about how an image is fetched.
type registryFlags struct {
	authFile      string
	anonymous     bool
	authDefault   bool
	creds         string
	certDir       string
	insecureTLS   bool
	requireSigned bool
}

func (f *registryFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.authFile, "authfile", "", "Take credentials from the auth.json `FILE` (default: ostree/auth.json in /run, /etc or /usr/lib)")
	flags.BoolVar(&f.anonymous, "auth-anonymous", false, "Use no credentials, not even of /etc/ostree/auth.json")
	flags.BoolVar(&f.authDefault, "auth-default", false, "Use the credentials that podman and docker would use")
	flags.StringVar(&f.creds, "creds", "", "Log in as `USER[:PASSWORD]`; without a password it is read from standard input")
	flags.StringVar(&f.certDir, "cert-dir", "", certDirUsage)
	flags.BoolVar(&f.insecureTLS, "insecure-skip-tls-verification", false, "Accept any TLS certificate, and plain HTTP")
	flags.BoolVar(&f.requireSigned, "require-signed", false, "Refuse images for which the signature policy checks no signature")
	_ = cmd.MarkFlagFilename("authfile", "json")
	_ = cmd.MarkFlagDirname("cert-dir")
}

func (f *registryFlags) check(cmd *cobra.Command) error {
	if err := exclusive(cmd, "authfile", "auth-anonymous", "auth-default", "creds"); err != nil {
		return usagef("Conflicting authentication options: %w", err)
	}
	return f.checkCreds(cmd)
}

func (f *registryFlags) checkCreds(cmd *cobra.Command) error {
	if user, _, _ := strings.Cut(f.creds, ":"); user == "" && cmd.Flags().Changed("creds") { // an empty option would count as none
		return usagef("--creds: the user's name is missing")
	}
	return nil
}

// oneRegistry refuses one account for two registries: that of one would be shown to the other.
func (f *registryFlags) oneRegistry(a, b imageref.ImageReference) error {
	from, to := registry.Host(a), registry.Host(b)
	if f.creds != "" && from != "" && to != "" && from != to {
		return usagef("--creds is for one registry, and %s and %s are two: use --authfile", from, to)
	}
	return nil
}

// options turns the flags into what package registry takes. It may ask for a password.
func (f *registryFlags) options(ctx context.Context, a *app) (*registry.Options, error) {
	if f.certDir != "" { // which containers/image takes for an empty one if it is not there
		if _, err := os.ReadDir(f.certDir); err != nil {
			return nil, fmt.Errorf("--cert-dir: %w", err)
		}
	}
	o := &registry.Options{
		Access: registry.Access{
			AuthFile:              f.authFile,
			CertDir:               f.certDir,
			InsecureSkipTLSVerify: f.insecureTLS,
			UserAgent:             "ostree-container/" + a.version,
		},
		RequireSigned: f.requireSigned,
		Logger:        a.log,
	}
	switch {
	case f.anonymous:
		o.Auth = registry.AuthAnonymous
	case f.authDefault:
		o.Auth = registry.AuthDefault
	case f.creds != "":
		user, password, ok := strings.Cut(f.creds, ":")
		if !ok {
			var err error
			if password, err = a.readPassword(ctx, user); err != nil {
				return nil, fmt.Errorf("read password of %s: %w", user, err)
			}
			f.creds = user + ":" + password // standard input has it once
		}
		o.Username, o.Password = user, password
	}
	return o, nil
}

// readPassword reads a line from standard input, without echo if that is a terminal.
func (a *app) readPassword(ctx context.Context, user string) (string, error) {
	if f, ok := a.in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprintf(a.err, "Password of %s: ", oneLine(user))
		before, err := term.GetState(int(f.Fd()))
		if err != nil {
			return "", err
		}
		var password []byte
		_, err = unlessDone(ctx, 0, func() (int, error) {
			p, err := term.ReadPassword(int(f.Fd()))
			password = p
			return len(p), err
		})
		fmt.Fprintln(a.err)
		if ctx.Err() != nil { // nobody else gives the echo back
			return "", errors.Join(context.Cause(ctx), term.Restore(int(f.Fd()), before))
		}
		return string(password), err
	}
	line, err := bufio.NewReader(a.input(ctx)).ReadString('\n')
	if errors.Is(err, io.EOF) && line != "" {
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}

// format is the value of --format.
type format string

// Formats.
const (
	formatText format = "text"
	formatJSON format = "json"
)

func (f *format) String() string { return string(*f) }
func (f *format) Type() string   { return "FORMAT" }

func (f *format) Set(s string) error {
	switch format(s) {
	case formatText, formatJSON:
		*f = format(s)
		return nil
	}
	return errors.New("text or json")
}

func (f *format) add(cmd *cobra.Command, usage string) {
	*f = formatText
	cmd.Flags().Var(f, "format", usage)
	_ = cmd.RegisterFlagCompletionFunc("format",
		cobra.FixedCompletions([]string{string(formatText), string(formatJSON)}, cobra.ShellCompDirectiveNoFileComp))
}

// repoFlag adds the option --repo, which the command must be given.
func repoFlag(cmd *cobra.Command) *string {
	repo := cmd.Flags().String("repo", "", "`PATH` of the repository (required)")
	_ = cmd.MarkFlagDirname("repo")
	return repo
}

// withRepo opens a repository, lets f work and closes it.
func (a *app) withRepo(ctx context.Context, path string, f func(*ostree.Repo) error) (err error) {
	repo, err := ostree.OpenRepo(ctx, path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(withRemedy(err, path), repo.Close()) }()
	return f(repo)
}
