package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"
)

// redacted stands where a secret was.
const redacted = "[redacted]"

// redactor takes secrets out of texts: those that it knows, and what looks like
// credentials. A registry, or a proxy before it, may send back what it was sent. Safe for concurrent use.
type redactor struct {
	mu      sync.Mutex
	secrets []string // longest first
}

var (
	urlUser    = regexp.MustCompile(`(://)[^/\s"'@]+@`)
	urlQuery   = regexp.MustCompile(`((?:https?://|/)[^\s"'?<>]*\?)([^\s"'<>]*)`)
	authWords  = regexp.MustCompile(`(?i)\b(basic|bearer)(\s+)([A-Za-z0-9._~+/=-]{6,})`)
	tokenJSON  = regexp.MustCompile(`(?i)(\\?"(?:access_token|refresh_token|identitytoken|token|password|secret|auth)\\?"\s*:\s*\\?")([^"\\]*)`)
	webToken   = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`)
	helperSaid = regexp.MustCompile("(credentials - err: [^`]*, out: `)[^`]*")
)

// harmless parameters of the URLs that registries use.
var harmless = []string{"scope", "service", "n", "last", "ns", "tag", "digest"}

func (r *redactor) redact(text string) string {
	if r != nil {
		r.mu.Lock()
		for _, s := range r.secrets {
			text = strings.ReplaceAll(text, s, redacted)
		}
		r.mu.Unlock()
	}
	text = webToken.ReplaceAllString(text, redacted)
	text = helperSaid.ReplaceAllString(text, "${1}"+redacted)
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
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		r.insert(s, url.QueryEscape(s), url.PathEscape(s), strings.TrimPrefix(url.UserPassword("", s).String(), ":"), quoted(s),
			base64.RawStdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)))
	}
}

// insert adds texts as they are; the longest comes first, as one may be within another.
func (r *redactor) insert(texts ...string) {
	for _, s := range texts {
		if !slices.Contains(r.secrets, s) {
			r.secrets = append(r.secrets, s)
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
		r.add(user + ":" + password)
	}
}

// known has the secrets of all images that were opened: what containers/image logs is of no image in particular.
var known redactor

// learn returns a context with whose requests r gets to know the credentials that are sent: tokens are negotiated inside
// containers/image.
func (r *redactor) learn(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaderField: func(key string, values []string) {
		if key = http.CanonicalHeaderKey(key); key != "Authorization" && key != "Proxy-Authorization" {
			return
		}
		for _, value := range values {
			_, secret, _ := strings.Cut(value, " ")
			r.add(secret)
			known.add(secret)
		}
	}})
}

// newRedactor collects what sys will send to the registry of named (nil if none).
func newRedactor(opts *Options, sys *types.SystemContext, named reference.Named) *redactor {
	r := &redactor{}
	r.addAccount(opts.Username, opts.Password)
	for _, k := range opts.DecryptionKeys {
		r.add(k.Passphrase)
	}
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
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		for _, name := range []string{name, strings.ToLower(name)} {
			if _, after, ok := strings.Cut(os.Getenv(name), "://"); ok {
				if at := strings.LastIndexByte(after, '@'); at >= 0 {
					user, password, _ := strings.Cut(after[:at], ":")
					r.addAccount(user, password)
					if plain, err := url.PathUnescape(password); err == nil {
						r.addAccount(user, plain)
					}
				}
			}
		}
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	known.insert(r.secrets...)
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
			r.addAccount(user, entry.IdentityToken)
		}
	}
}
