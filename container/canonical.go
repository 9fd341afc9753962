package container

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// canonicalJSON returns v as JSON with sorted keys, no white space and nothing escaped that need not be.
func canonicalJSON(v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return canonicalise(plain)
}

// canonicalise brings a JSON document into the form of canonicalJSON. Numbers keep their digits.
func canonicalise(doc []byte) (string, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return "", fmt.Errorf("JSON: %w", err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(tree); err != nil { // sorts the keys of maps
		return "", err
	}
	return string(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil
}
