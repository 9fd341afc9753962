//go:build !amd64 || !cgo

package twinhash

const accelerated = false

func blocks(*[8]uint32, []byte) {}

func twoBlocks(*[8]uint32, []byte, *[8]uint32, []byte) {}
