package stream

import "syscall"

// tcpUserTimeout is TCP_USER_TIMEOUT of tcp(7).
const tcpUserTimeout = 0x12

// boundUnacknowledged bounds how long sent bytes may stay unacknowledged before the system gives the connection up.
func boundUnacknowledged(fd uintptr) {
	_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(unacknowledged.Milliseconds()))
}
