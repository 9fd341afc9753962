package testimage

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Tokens gives out bearer tokens, as the distribution specification's token server does, each good for a number of requests.
type Tokens struct {
	// User and Password are asked for; "" gives tokens to anybody.
	User, Password string
	// Uses is how many requests a token is good for; 0 is any number.
	Uses int

	server *httptest.Server
	mu     sync.Mutex
	left   map[string]int
	issued int
	stop   bool
}

// NewTokens starts a token server that runs until the test ends.
func NewTokens(t testing.TB) *Tokens {
	k := &Tokens{left: map[string]int{}}
	k.server = httptest.NewServer(http.HandlerFunc(k.issue))
	t.Cleanup(k.server.Close)
	return k
}

// Protect starts a server that hands on to a registry what comes with a token, and returns its "HOST:PORT".
func (k *Tokens) Protect(t testing.TB, registry http.Handler) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !k.use(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="test",error="invalid_token"`, k.server.URL+"/token"))
			apiError(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			return
		}
		r.Header.Del("Authorization")
		registry.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// Issued is the number of tokens that were given out.
func (k *Tokens) Issued() int { k.mu.Lock(); defer k.mu.Unlock(); return k.issued }

// Stop makes the server refuse from now on.
func (k *Tokens) Stop() { k.mu.Lock(); defer k.mu.Unlock(); k.stop = true; clear(k.left) }

func (k *Tokens) issue(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stop || k.User != "" && (user != k.User || password != k.Password) {
		apiError(w, http.StatusUnauthorized, "UNAUTHORIZED", "no token for "+user)
		return
	}
	k.issued++
	token := fmt.Sprintf("t0ken-%06d-secret", k.issued)
	k.left[token] = k.Uses
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": 300})
}

func (k *Tokens) use(token string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	left, ok := k.left[token]
	switch {
	case !ok:
		return false
	case k.Uses == 0:
		return true
	case left == 1:
		delete(k.left, token)
	default:
		k.left[token]--
	}
	return true
}
