package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// policy reads the policy that applies, and refuses one that is too weak for
// source before anything is fetched.
func (o *Options) policy(source imageref.SignatureSource) (*signature.Policy, error) {
	path, err := o.policyPath()
	if errors.Is(err, ErrNoPolicy) && source.Kind != imageref.SignatureContainerPolicy && !o.RequireSigned {
		o.logger().Debug("no signature policy found, none needed", "reason", err.Error())
		return &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}, nil
	}
	if err != nil {
		return nil, err
	}
	policy, err := signature.NewPolicyFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if source.Kind == imageref.SignatureContainerPolicy && insecureDefault(policy) {
		return nil, fmt.Errorf("%s: %w", path, ErrInsecurePolicy)
	}
	return policy, nil
}

// insecureDefault is ostree-rs-ext's container_policy_is_default_insecure: a
// default of exactly one requirement, which accepts anything.
func insecureDefault(policy *signature.Policy) bool {
	return len(policy.Default) == 1 && requirementType(policy.Default[0]) == "insecureAcceptAnything"
}

// requirementType returns the "type" of containers-policy.json(5).
func requirementType(r signature.PolicyRequirement) string {
	data, err := json.Marshal(r)
	if err != nil {
		return ""
	}
	var typed struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(data, &typed) != nil {
		return ""
	}
	return typed.Type
}

// policyPath finds the policy file, in the order of ostree-rs-ext.
func (o *Options) policyPath() (string, error) {
	if o.PolicyPath != "" {
		if err := readable(o.PolicyPath); err != nil && !errors.Is(err, fs.ErrNotExist) { // that has an error of its own
			return "", fmt.Errorf("policy: %w", err)
		}
		return o.PolicyPath, nil
	}
	var candidates []string
	if o.root() == "" {
		if path := os.Getenv("CONTAINERS_POLICY_JSON"); path != "" {
			if err := readable(path); err != nil {
				return "", fmt.Errorf("CONTAINERS_POLICY_JSON: %w", err)
			}
			return path, nil
		}
		const name = "containers/policy.json"
		if dir := os.Getenv("XDG_CONFIG_HOME"); dir != "" {
			candidates = append(candidates, filepath.Join(dir, name))
		} else if home := os.Getenv("HOME"); home != "" {
			candidates = append(candidates, filepath.Join(home, ".config", name))
		}
	}
	candidates = append(candidates, "/etc/containers/policy.json", "/usr/share/containers/policy.json")
	for _, candidate := range candidates {
		path := candidate
		if root := o.root(); root != "" {
			var err error
			if path, err = resolveIn(root, candidate); errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return "", fmt.Errorf("policy: %w", err)
			}
		}
		switch _, err := os.Stat(path); {
		case err == nil:
			return path, nil
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			return "", fmt.Errorf("policy: %w", err)
		case errors.Is(err, fs.ErrPermission):
			// A policy that cannot be seen must not be passed over for a weaker one.
			return "", fmt.Errorf("policy: %w", err)
		}
	}
	return "", fmt.Errorf("%w; checked %s", ErrNoPolicy, strings.Join(candidates, ", "))
}

// resolveIn returns the path of name below root with its symbolic links followed as
// if root were "/".
func resolveIn(root, name string) (string, error) {
	const maxLinks = 40
	links := 0
	done := "/"
	todo := strings.Split(name, "/")
	for len(todo) > 0 {
		part := todo[0]
		todo = todo[1:]
		if part == "" || part == "." {
			continue
		}
		next := filepath.Join(done, part) // ".." at the top stays there
		full := filepath.Join(root, next)
		target, err := os.Readlink(full)
		if err != nil {
			if _, err := os.Lstat(full); err != nil {
				return "", err
			}
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", &fs.PathError{Op: "resolve", Path: name, Err: errors.New("too many symbolic links")}
		}
		if filepath.IsAbs(target) {
			done = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return filepath.Join(root, done), nil
}

// requirements returns what the policy asks of ref, by containers-policy.json(5):
// the most specific scope of the transport, its default, the global default.
func requirements(policy *signature.Policy, ref types.ImageReference) (scope string, reqs signature.PolicyRequirements) {
	transport := ref.Transport().Name()
	scopes := policy.Transports[transport]
	names := append([]string{ref.PolicyConfigurationIdentity()}, ref.PolicyConfigurationNamespaces()...)
	for _, name := range append(names, "") {
		if reqs, ok := scopes[name]; ok {
			return fmt.Sprintf("transports.%s.%q", transport, name), reqs
		}
	}
	return "default", policy.Default
}

// requireSigned is the rule that go.podman.io/image v5.42 has as
// PolicyContext.RequireSignatureVerification: one requirement at least must be
// about a signature over the whole image ("signedBaseLayer" is not).
func requireSigned(policy *signature.Policy, ref types.ImageReference) error {
	scope, reqs := requirements(policy, ref)
	for _, r := range reqs {
		switch requirementType(r) {
		case "signedBy", "sigstoreSigned", "reject":
			return nil
		}
	}
	return fmt.Errorf("%w: %s asks for no signature, and a signature is required", ErrPolicyRejected, scope)
}

// checkPolicy evaluates the policy on an image. It is called once, with what the
// reference names.
func checkPolicy(ctx context.Context, policy *signature.Policy, img types.UnparsedImage) (err error) {
	pc, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pc.Destroy()) }()
	allowed, err := pc.IsRunningImageAllowed(ctx, img)
	var refused signature.PolicyRequirementError
	var invalid signature.InvalidSignatureError
	switch {
	case errors.As(err, &refused), errors.As(err, &invalid):
		return fmt.Errorf("%w: %w", ErrPolicyRejected, err)
	case err != nil:
		return fmt.Errorf("evaluate policy: %w", err)
	case !allowed:
		return ErrPolicyRejected
	}
	return nil
}

// AcceptsUnseen reports whether the signature policy accepts whatever ref names without looking at it: no requirement is about a
// signature. It reads the policy only, not the image. Where the policy
// alone makes Open fail, it returns the same error as Open. opts may be nil.
func AcceptsUnseen(ctx context.Context, ref imageref.OSTreeImageReference, opts *Options) (bool, error) {
	if opts == nil {
		opts = &Options{}
	}
	accepts, err := acceptsUnseen(ref, opts)
	if err != nil {
		return false, newError(ctx, "check policy for "+ref.ImgRef.String(), err, 0, &redactor{})
	}
	return accepts, nil
}

func acceptsUnseen(ref imageref.OSTreeImageReference, opts *Options) (bool, error) {
	if err := checkStore(ref.ImgRef); err != nil { // parsing the name makes a missing store
		return false, err
	}
	name, err := imageReference(ref.ImgRef)
	if err != nil {
		return false, err
	}
	policy, err := opts.policy(ref.SigVerify)
	if err != nil {
		return false, err
	}
	if opts.RequireSigned {
		if err := requireSigned(policy, name); err != nil {
			return false, err
		}
	}
	scope, reqs := requirements(policy, name)
	accepts := len(reqs) > 0
	for _, r := range reqs {
		switch requirementType(r) {
		case "insecureAcceptAnything":
		case "reject":
			return false, fmt.Errorf("%w: %s rejects it", ErrPolicyRejected, scope)
		default:
			accepts = false
		}
	}
	return accepts, nil
}
