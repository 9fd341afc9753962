// Package keyfile reads and writes GLib's key files in pure Go.
package keyfile
