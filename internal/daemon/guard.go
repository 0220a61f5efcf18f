package daemon

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
)

// ErrPanic is wrapped by the error that Guard makes of a panic.
var ErrPanic = errors.New("panic")

// Guard calls f and makes its panic an error, which holds the stack: in a goroutine of its own a
// panic ends the process. The error names the panic's type and place only: the value could hold
// anything, also a secret, unless it is the runtime's own.
func Guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
	}()
	return f()
}

func panicError(v any) error {
	what := fmt.Sprintf("%T", v)
	if own, ok := v.(runtime.Error); ok {
		what = own.Error()
	}
	return fmt.Errorf("%w: %s\n%s", ErrPanic, what, debug.Stack())
}
