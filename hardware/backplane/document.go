//go:build !tinygo

package backplane

import _ "embed"

// Document is BACKPLANE.md: how a case is wired, and the wire protocol.
//
//go:embed BACKPLANE.md
var Document string
