package imageref

import "errors"

var (
	// ErrInvalidReference is wrapped by every error of Parse, ParseOSTree,
	// ParseTransport and ParseSignatureSource.
	ErrInvalidReference = errors.New("invalid image reference")

	// ErrInvalidRef is wrapped by every error of EscapeRef and UnescapeRef.
	ErrInvalidRef = errors.New("invalid ostree ref")
)

// ParseError says why a text was refused. errors.Is finds the sentinel
// ErrInvalidReference or ErrInvalidRef in it.
type ParseError struct {
	// Value is the whole text that was refused.
	Value string
	// Message is the complete error text, with the part of Value it is about.
	// It begins with a capital letter where ostree-rs-ext's does.
	Message string

	kind error
}

// Error returns Message.
func (e *ParseError) Error() string { return e.Message }

// Unwrap returns ErrInvalidReference or ErrInvalidRef.
func (e *ParseError) Unwrap() error { return e.kind }

func invalidReference(value, message string) error {
	return &ParseError{Value: value, Message: message, kind: ErrInvalidReference}
}

func invalidRef(value, message string) error {
	return &ParseError{Value: value, Message: message, kind: ErrInvalidRef}
}
