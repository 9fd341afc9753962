package container

import "log/slog"

// orSilent returns a logger for options where nil is silence.
func orSilent(logger *slog.Logger) *slog.Logger {
	if logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return logger
}
