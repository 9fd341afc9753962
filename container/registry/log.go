package registry

import (
	"context"
	"io"
	"log/slog"
	"sync"

	"github.com/sirupsen/logrus"
)

var routeOnce sync.Once

// RouteLogs sends what containers/image logs, of level info and above, to logger,
// without credentials; nil drops it. Without this call it goes to standard error.
// The setting is for the whole program, which is why Open does not make it; the
// first call counts.
func RouteLogs(logger *slog.Logger) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	routeOnce.Do(func() {
		logrus.SetOutput(io.Discard)
		logrus.AddHook(logHook{logger})
	})
}

type logHook struct{ logger *slog.Logger }

// Levels implements logrus.Hook.
func (logHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (h logHook) Fire(e *logrus.Entry) error {
	level := slog.LevelError
	switch e.Level {
	case logrus.WarnLevel:
		level = slog.LevelWarn
	case logrus.InfoLevel:
		level = slog.LevelInfo
	case logrus.DebugLevel, logrus.TraceLevel:
		level = slog.LevelDebug
	}
	ctx := e.Context
	if ctx == nil {
		ctx = context.Background()
	}
	h.logger.Log(ctx, level, known.redact(e.Message), "from", "containers/image")
	return nil
}
