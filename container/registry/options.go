package registry

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"github.com/containers/image/v5/types"
)

// AuthMode says where credentials for a registry come from.
type AuthMode int

const (
	// AuthAuto takes Access.AuthFile, or Username and Password, where they are
	// given. Else a pull takes the first of ostree's own files that exists, and a
	// push what AuthDefault takes, as ostree-rs-ext does. Ostree's files are, for
	// root, /run/ostree/auth.json, /etc/ostree/auth.json and
	// /usr/lib/ostree/auth.json; for others $XDG_RUNTIME_DIR/ostree/auth.json and
	// $XDG_CONFIG_HOME/ostree/auth.json (~/.cache and ~/.config where these are not set). They are not merged. Without any of them
	// no credentials are sent.
	AuthAuto AuthMode = iota
	// AuthAnonymous sends no credentials. (To a mirror from registries.conf on
	// another host, containers/image sends what it knows for that host.)
	AuthAnonymous
	// AuthDefault looks where podman and skopeo look: containers-auth.json(5),
	// docker's files and credential helpers.
	AuthDefault
)

// Access says how registries are reached: as whom, whom to trust, and where the configuration of this machine is. The zero value is
// that of the machine, with the credentials of AuthAuto.
type Access struct {
	// Auth is the source of credentials. AuthAnonymous excludes the next three
	// fields; so does AuthDefault for a pull, while a push asks those given first.
	Auth AuthMode
	// AuthFile is the path of a containers-auth.json(5), which must exist.
	// It excludes Username and Password.
	AuthFile string
	// Username and Password are sent to the registry of the image.
	Username, Password string

	// CertDir is a directory with *.crt (CA), *.cert and *.key (client) files; ""
	// means the certs.d directories of containers-certs.d(5).
	CertDir string
	// InsecureSkipTLSVerify takes any certificate, and plain HTTP.
	InsecureSkipTLSVerify bool
	// UserAgent is sent to registries; "" means "ostree-container".
	UserAgent string

	// RootDir is put before the absolute paths of configuration (policy,
	// registries.conf, certs.d, auth.json), as installers need it; "" means "/". If
	// set, variables of the environment and files in $HOME do not count.
	RootDir string
	// RegistriesConf and RegistriesConfDir replace /etc/containers/registries.conf
	// and registries.conf.d.
	RegistriesConf, RegistriesConfDir string
	// TempDir is where oci-archive: images, compressed docker-archive: files, images from
	// docker-daemon: and, one at a time, layers of a containers-storage: are unpacked; ""
	// means $TMPDIR or /var/tmp. The files have no name, or are removed by Close.
	TempDir string
}

// Options are the settings of Open. Nil and the zero value are the defaults.
type Options struct {
	Access

	// DecryptionKeys open encrypted layers; all are tried. The files are read by Open.
	DecryptionKeys []DecryptionKey

	// Architecture, OS and Variant choose the instance of an index, in Go's
	// names ("arm64", "linux", "v8"); "" means this machine's.
	Architecture, OS, Variant string

	// RequireSigned refuses an image for which the policy does not ask for a
	// signature over the whole image, whatever the signature source of the
	// reference. It closes the gap that a policy with a strict default but a
	// permissive transport leaves (and that the reference implementation has).
	RequireSigned bool
	// PolicyPath is a containers-policy.json(5); "" means the first that exists of $CONTAINERS_POLICY_JSON,
	// containers/policy.json in $XDG_CONFIG_HOME (or ~/.config), /etc and /usr/share.
	PolicyPath string

	// RegistriesDir replaces /etc/containers/registries.d, which says where
	// signatures are kept.
	RegistriesDir string
	// DockerHost is the daemon of docker-daemon:, such as "unix:///run/podman/podman.sock";
	// "" means $DOCKER_HOST or unix:///var/run/docker.sock. For "tcp://…" the certificates are
	// in $DOCKER_CERT_PATH.
	DockerHost string

	// ManifestOnly leaves the configuration to Image.FetchConfig (except where the
	// manifest has to be converted, which needs it).
	ManifestOnly bool

	// StallTimeout is how long to wait for the next byte of a registry before giving up; zero
	// means 60 seconds, negative for ever. Other sources are waited for. While a registry is answering a request
	// for a manifest, one more minute is allowed, since containers/image may
	// be waiting as the registry told it to.
	StallTimeout time.Duration
	// Retry says how often to try again.
	Retry Retry

	// Logger is told of warnings and retries; nil means silence.
	Logger *slog.Logger
}

// String is for debugging and leaves out the password.
func (a Access) String() string {
	type plain Access // without this method
	if a.Password != "" {
		a.Password = redacted
	}
	return fmt.Sprintf("%+v", plain(a))
}

// GoString is String.
func (a Access) GoString() string { return a.String() }

// String is for debugging and leaves out the password.
func (o Options) String() string { return fieldsOf(o) }

// GoString is String.
func (o Options) GoString() string { return o.String() }

// fieldsOf is what %+v prints of a struct without methods: that of an embedded field would be taken for its own.
func fieldsOf(v any) string {
	s := reflect.ValueOf(v)
	list := make([]string, s.NumField())
	for i := range list {
		list[i] = fmt.Sprintf("%s:%+v", s.Type().Field(i).Name, s.Field(i))
	}
	return "{" + strings.Join(list, " ") + "}"
}

// ErrConflictingAuth is returned by Open for options with more than one source of
// credentials.
var ErrConflictingAuth = errors.New("Conflicting authentication options") //nolint:staticcheck // the text of ostree-rs-ext

const defaultUserAgent = "ostree-container"

func (o *Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// system makes the settings of containers/image.
func (o *Options) system() (*types.SystemContext, error) {
	sys := &types.SystemContext{
		ArchitectureChoice:           o.Architecture,
		OSChoice:                     o.OS,
		VariantChoice:                o.Variant,
		DockerCertPath:               o.CertDir,
		DockerRegistryUserAgent:      o.UserAgent,
		RootForImplicitAbsolutePaths: o.root(),
		SystemRegistriesConfPath:     o.RegistriesConf,
		SystemRegistriesConfDirPath:  o.RegistriesConfDir,
		RegistriesDirPath:            o.RegistriesDir,
		BigFilesTemporaryDir:         o.TempDir,
		DockerDaemonHost:             cmp.Or(o.DockerHost, os.Getenv("DOCKER_HOST")),
		DockerDaemonCertPath:         os.Getenv("DOCKER_CERT_PATH"),
	}
	if sys.DockerRegistryUserAgent == "" {
		sys.DockerRegistryUserAgent = defaultUserAgent
	}
	if o.InsecureSkipTLSVerify {
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	if err := o.authentication(sys); err != nil {
		return nil, err
	}
	return sys, nil
}

func (o *Options) root() string {
	if filepath.Clean("/"+o.RootDir) == "/" {
		return ""
	}
	return o.RootDir
}

func (o *Options) authentication(sys *types.SystemContext) error {
	sources := 0
	for _, given := range []bool{
		o.AuthFile != "", o.Username != "" || o.Password != "", o.Auth == AuthAnonymous, o.Auth == AuthDefault,
	} {
		if given {
			sources++
		}
	}
	switch {
	case sources > 1:
		return ErrConflictingAuth
	case o.AuthFile != "":
		if err := readable(o.AuthFile); err != nil {
			return fmt.Errorf("authentication file: %w", err)
		}
		sys.AuthFilePath = o.AuthFile
	case o.Username != "" || o.Password != "":
		sys.DockerAuthConfig = &types.DockerAuthConfig{Username: o.Username, Password: o.Password}
	case o.Auth == AuthAnonymous:
		sys.DockerAuthConfig = &types.DockerAuthConfig{}
	case o.Auth == AuthDefault:
	default:
		path, err := o.ostreeAuthFile()
		if err != nil {
			return err
		}
		if path == "" {
			sys.DockerAuthConfig = &types.DockerAuthConfig{}
		}
		sys.AuthFilePath = path
	}
	return nil
}

var getuid = os.Getuid // replaced by tests

// ostreeAuthFile returns the first of ostree's files that exists, "" if none does.
func (o *Options) ostreeAuthFile() (string, error) {
	const name = "ostree/auth.json"
	var candidates []string
	if getuid() == 0 {
		for _, dir := range []string{"/run", "/etc", "/usr/lib"} {
			candidates = append(candidates, filepath.Join(o.root(), dir, name))
		}
	} else {
		// As GLib's user directories: the runtime directory falls back to the cache.
		home := os.Getenv("HOME")
		for _, dir := range [][2]string{{"XDG_RUNTIME_DIR", ".cache"}, {"XDG_CONFIG_HOME", ".config"}} {
			if value := os.Getenv(dir[0]); filepath.IsAbs(value) {
				candidates = append(candidates, filepath.Join(value, name))
			} else if home != "" {
				candidates = append(candidates, filepath.Join(home, dir[1], name))
			}
		}
	}
	for _, path := range candidates {
		err := readable(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("authentication file: %w", err)
		}
	}
	return "", nil
}

// readable checks a file that containers/image opens, which does not look what it is.
func readable(path string) error {
	f, err := openRegular(path)
	if err != nil {
		return err
	}
	return f.Close()
}
