package host

import (
	"encoding/json"
	"fmt"

	"github.com/go-openapi/strfmt"
	"github.com/opencontainers/go-digest"

	"github.com/ostree-container/ostree-container/container/imageref"
)

// APIVersion and Kind begin the document. Fields may be added to a version; what a field means does not change within it.
const (
	APIVersion = "ostree-container/v1"
	Kind       = "Host"
)

// Host is the state of a host. Its JSON has the fields of `bootc status --json` under the same names, so that programs find them by the
// same paths; it is a document of its own all the same (see APIVersion), and what is marked "ours" bootc does not have. It is read back into the
// same type.
type Host struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       Spec     `json:"spec"`
	Status     Status   `json:"status"`
}

// Metadata names the document.
type Metadata struct {
	Name string `json:"name"` // always "host"
}

// Values of Spec.BootOrder.
const (
	BootDefault  = "default"
	BootRollback = "rollback"
)

// Spec is what the host is to be.
type Spec struct {
	Image     *ImageReference `json:"image"`     // that is followed, nil: none
	BootOrder string          `json:"bootOrder"` // BootDefault, or BootRollback if the rollback deployment is next
}

// Status is what the host is. Staged, Booted and Rollback are nil where there is none.
type Status struct {
	Staged         *Entry  `json:"staged"`
	Booted         *Entry  `json:"booted"`
	Rollback       *Entry  `json:"rollback"`         // the first other one of the booted stateroot
	Others         []Entry `json:"otherDeployments"` // in boot order; all of them where nothing is booted
	RollbackQueued bool    `json:"rollbackQueued"`
	Sysroot        string  `json:"sysroot"` // ours: its path
}

// Entry is a deployment.
type Entry struct {
	Image        *Image `json:"image"`        // nil: not of a container image, see Error
	CachedUpdate *Image `json:"cachedUpdate"` // an update that was seen and not deployed here
	Incompatible bool   `json:"incompatible"` // it has packages or other changes of rpm-ostree
	Pinned       bool   `json:"pinned"`
	// SoftRebootCapable: a reboot of user space alone can switch to it. False where libostree is older than 2025.3.
	SoftRebootCapable bool    `json:"softRebootCapable"`
	SoftRebootTarget  bool    `json:"softRebootTarget"` // ours: the next soft reboot switches to it
	DownloadOnly      bool    `json:"downloadOnly"`     // staged, and locked: not applied at shutdown
	Store             *string `json:"store"`            // StoreContainer; nil: not of a container image
	OSTree            OSTree  `json:"ostree"`
	NextBoot          bool    `json:"nextBoot"`         // ours: the host boots it next
	Origin            string  `json:"origin,omitempty"` // ours, with ReadOptions.Details: the origin file
	Error             string  `json:"error,omitempty"`  // ours: why there is no more to say of the image
}

// StoreContainer is the value of Entry.Store for images.
const StoreContainer = "ostreeContainer"

// OSTree says which deployment of libostree an Entry is.
type OSTree struct {
	Stateroot    string   `json:"stateroot"`
	Checksum     string   `json:"checksum"`             // of the commit, 64 hex digits
	DeploySerial int      `json:"deploySerial"`         // tells deployments of one commit apart
	Index        int      `json:"index"`                // ours: place in boot order, as for `ostree admin`; what is staged comes first
	KernelArgs   []string `json:"kernelArgs,omitempty"` // ours, with ReadOptions.Details
}

// Image is an image in the repository, or at its source.
type Image struct {
	Image        ImageReference   `json:"image"`
	Version      *string          `json:"version"`     // its label; nil: none
	Timestamp    *strfmt.DateTime `json:"timestamp"`   // when it was made, as it says; nil: it does not
	ImageDigest  digest.Digest    `json:"imageDigest"` // of the manifest
	Architecture string           `json:"architecture,omitempty"`
}

// ImageReference is an image and the rule for its signature.
type ImageReference struct {
	Image     string    `json:"image"`     // without the transport, such as quay.io/example/os:latest
	Transport string    `json:"transport"` // registry, oci, containers-storage, ...
	Signature Signature `json:"signature"`
}

// Signature is the rule for an image's signature: "containerPolicy", "insecure", or {"ostreeRemote": REMOTE}.
type Signature imageref.SignatureSource

// UnmarshalJSON reads what MarshalJSON wrote. Anything else is an error that wraps imageref.ErrInvalidReference.
func (s *Signature) UnmarshalJSON(data []byte) error {
	var kind string
	if json.Unmarshal(data, &kind) == nil {
		switch kind {
		case "containerPolicy":
			*s = Signature{Kind: imageref.SignatureContainerPolicy}
			return nil
		case "insecure":
			*s = Signature{Kind: imageref.SignatureInsecure}
			return nil
		}
	}
	var remote struct {
		OSTreeRemote string `json:"ostreeRemote"`
	}
	if json.Unmarshal(data, &remote) == nil && remote.OSTreeRemote != "" {
		*s = Signature{Kind: imageref.SignatureOSTreeRemote, Remote: remote.OSTreeRemote}
		return nil
	}
	return fmt.Errorf("%w: signature %.100q", imageref.ErrInvalidReference, data)
}

// MarshalJSON writes bootc's form.
func (s Signature) MarshalJSON() ([]byte, error) {
	switch s.Kind {
	case imageref.SignatureOSTreeRemote:
		return json.Marshal(map[string]string{"ostreeRemote": s.Remote})
	case imageref.SignatureInsecure:
		return json.Marshal("insecure")
	default:
		return json.Marshal("containerPolicy")
	}
}

// String returns the rule as it stands in an origin, such as "ostree-image-signed".
func (s Signature) String() string { return imageref.SignatureSource(s).String() }

func referenceOf(ref imageref.OSTreeImageReference) ImageReference {
	return ImageReference{Image: ref.ImgRef.Name, Transport: ref.ImgRef.Transport.String(), Signature: Signature(ref.SigVerify)}
}
