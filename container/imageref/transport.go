package imageref

import (
	"fmt"
	"strings"
)

// Transport says where an image is kept. The zero value is no transport.
type Transport int

// The transports, as containers-transports(5) names them.
const (
	// TransportRegistry is a registry spoken to over HTTP: "docker://" or "registry:".
	TransportRegistry Transport = iota + 1
	// TransportOCIDir is a directory in OCI layout: "oci:PATH[:TAG]".
	TransportOCIDir
	// TransportOCIArchive is a tar archive of an OCI layout: "oci-archive:PATH[:TAG]".
	TransportOCIArchive
	// TransportDockerArchive is a "docker save" archive: "docker-archive:PATH[:REFERENCE]".
	TransportDockerArchive
	// TransportContainersStorage is podman's local storage: "containers-storage:[STORE]NAME".
	TransportContainersStorage
	// TransportDir is a plain directory of blobs: "dir:PATH".
	TransportDir
	// TransportDockerDaemon is the store of a docker daemon: "docker-daemon:NAME".
	TransportDockerDaemon
)

var transportNames = map[Transport]string{
	TransportRegistry:          "registry",
	TransportOCIDir:            "oci",
	TransportOCIArchive:        "oci-archive",
	TransportDockerArchive:     "docker-archive",
	TransportContainersStorage: "containers-storage",
	TransportDir:               "dir",
	TransportDockerDaemon:      "docker-daemon",
}

// String returns the bare name of the transport, without a colon: "registry",
// "oci", "oci-archive", "docker-archive", "containers-storage", "dir" or
// "docker-daemon"; "invalid(N)" for any other value.
func (t Transport) String() string {
	if name, ok := transportNames[t]; ok {
		return name
	}
	return fmt.Sprintf("invalid(%d)", int(t))
}

// prefix is what stands before the name in the canonical text.
func (t Transport) prefix() string {
	if t == TransportRegistry {
		return "docker://"
	}
	return t.String() + ":"
}

// ParseTransport reads a transport on its own, as in "--transport oci": a bare
// name, a name with a final colon, and for registries "registry", "docker" or
// "docker://". Errors wrap ErrInvalidReference.
func ParseTransport(s string) (Transport, error) {
	switch s {
	case "docker", "docker://":
		return TransportRegistry, nil
	case "docker:":
		return 0, invalidReference(s, "Missing // in docker:// in "+s)
	}
	return transportByName(s, strings.TrimSuffix(s, ":"))
}

func transportByName(value, name string) (Transport, error) {
	for t, n := range transportNames {
		if n == name {
			return t, nil
		}
	}
	return 0, invalidReference(value, "Invalid transport: "+name)
}
