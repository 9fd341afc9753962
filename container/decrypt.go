package container

import (
	"maps"
	"strings"
)

// checkKeys refuses layers that are to be fetched and that no key decrypts, before anything is fetched.
//
// A decrypted layer is kept under the digest of its encrypted blob, which is the one in the manifest. That of the plain blob would be
// in no manifest, so that a collection would not know the layer, and is known only after all of it was read. Plain and encrypted
// images share layers by diff_id all the same: the configuration is not encrypted.
func (i *Importer) checkKeys(layers []LayerState) error {
	for n := range layers {
		l := &layers[n]
		if l.Commit != "" {
			continue
		}
		if err := i.image.CheckKey(l.Index); err != nil {
			return layerError(i.ref.ImgRef.String(), l, len(layers), err)
		}
	}
	return nil
}

// plainAnnotations leaves out what an encrypted layer says of its encryption.
func plainAnnotations(annotations map[string]string) map[string]string {
	plain := maps.Clone(annotations)
	maps.DeleteFunc(plain, func(key, _ string) bool { return strings.HasPrefix(key, "org.opencontainers.image.enc.") })
	return plain
}
