package stream

// Queued is how many bytes are on their way to clients.
func (s *Server) Queued() int64 { return s.queued.Load() }
