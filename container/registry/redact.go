package registry

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// redactor takes secrets out of texts: those that it knows, and what looks like
// credentials. A registry, or a proxy before it, may send back what it was sent.
type redactor struct {
	secrets []string // longest first
}

var (
	urlUser   = regexp.MustCompile(`(://)[^/\s"'@]+@`)
	urlQuery  = regexp.MustCompile(`(https?://[^\s"'?<>]*\?)([^\s"'<>]*)`)
	authWords = regexp.MustCompile(`(?i)\b(basic|bearer)(\s+)([A-Za-z0-9._~+/=-]{6,})`)
	tokenJSON = regexp.MustCompile(`(?i)(\\?"(?:access_token|refresh_token|identitytoken|token|password|secret|auth)\\?"\s*:\s*\\?")([^"\\]*)`)
)

// harmless parameters of the URLs that registries use.
var harmless = []string{"scope", "service", "n", "last", "ns", "tag", "digest"}

func (r *redactor) redact(text string) string {
	if r != nil {
		for _, s := range r.secrets {
			text = strings.ReplaceAll(text, s, redacted)
		}
	}
	text = urlUser.ReplaceAllString(text, "${1}"+redacted+"@")
	text = urlQuery.ReplaceAllStringFunc(text, func(u string) string {
		base, query, _ := strings.Cut(u, "?")
		params := strings.Split(query, "&")
		for i, p := range params {
			if key, _, ok := strings.Cut(p, "="); ok && !slices.Contains(harmless, key) {
				params[i] = key + "=" + redacted
			}
		}
		return base + "?" + strings.Join(params, "&")
	})
	text = authWords.ReplaceAllStringFunc(text, func(s string) string {
		m := authWords.FindStringSubmatch(s)
		if !strings.ContainsAny(m[3], "0123456789=+/_~") && len(m[3]) < 20 {
			return s // prose: "bearer challenge", "basic authentication"
		}
		return m[1] + m[2] + redacted
	})
	return tokenJSON.ReplaceAllString(text, "${1}"+redacted)
}

// minSecret is the length below which replacing would only garble texts.
const minSecret = 3

func (r *redactor) add(secrets ...string) {
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		for _, form := range []string{s, url.QueryEscape(s), url.PathEscape(s), quoted(s)} {
			if !slices.Contains(r.secrets, form) {
				r.secrets = append(r.secrets, form)
			}
		}
	}
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(b[1 : len(b)-1])
}

func (r *redactor) addAccount(user, password string) {
	r.add(password)
	if password != "" {
		pair := []byte(user + ":" + password)
		r.add(base64.StdEncoding.EncodeToString(pair), base64.URLEncoding.EncodeToString(pair), base64.RawURLEncoding.EncodeToString(pair))
	}
}

// newRedactor collects what sys will send to the registry of named (nil if none).
func newRedactor(opts *Options, sys *types.SystemContext, named reference.Named) *redactor {
	r := &redactor{}
	r.addAccount(opts.Username, opts.Password)
	if sys.AuthFilePath != "" {
		r.addFile(sys.AuthFilePath)
	}
	if named != nil && opts.Auth == AuthDefault {
		// An error will be met again by containers/image itself.
		if c, err := config.GetCredentialsForRef(sys, named); err == nil {
			r.addAccount(c.Username, c.Password)
			r.add(c.IdentityToken)
		}
	}
	return r
}

// addFile adds everything in an auth.json that could be a secret: the image may be
// fetched from a mirror, with the mirror's account.
func (r *redactor) addFile(path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		return // met again by containers/image itself
	}
	var file struct {
		Auths map[string]struct {
			Auth          string `json:"auth"`
			IdentityToken string `json:"identitytoken"`
		} `json:"auths"`
	}
	if json.Unmarshal(data, &file) != nil {
		return
	}
	for _, entry := range file.Auths {
		r.add(entry.Auth, entry.IdentityToken)
		if pair, err := base64.StdEncoding.DecodeString(entry.Auth); err == nil {
			user, password, _ := strings.Cut(string(pair), ":")
			r.addAccount(user, strings.TrimRight(password, "\x00"))
		}
	}
}
