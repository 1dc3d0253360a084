//go:build !linux

package stream

import "time"

// boundUnacknowledged leaves it to the system how long it waits for a client that is gone.
func boundUnacknowledged(uintptr, time.Duration) {}
