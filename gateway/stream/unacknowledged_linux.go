package stream

import (
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7).
const tcpUserTimeout = 0x12

// boundUnacknowledged bounds how long bytes may stay unacknowledged, or unsent to a full window, before the system gives
// the connection up.
func boundUnacknowledged(fd uintptr, d time.Duration) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(d.Milliseconds()))
}
