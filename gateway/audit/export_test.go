package audit

import "starling/engine/fact"

// AppendLine and Parse are the journal's format.
func AppendLine(to []byte, e *fact.AuditEntry) ([]byte, error)     { return appendLine(to, e) }
func Parse(content []byte, torn func(bytes int)) []fact.AuditEntry { return parse(content, torn) }
