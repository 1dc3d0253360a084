//go:build !linux

package stream

// boundUnacknowledged leaves it to the system how long it waits for a client that is gone.
func boundUnacknowledged(uintptr) {}
