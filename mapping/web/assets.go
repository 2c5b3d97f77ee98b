package web

import (
	"embed"
	"io/fs"
)

//go:generate go run ./bundle

//go:embed dist
var dist embed.FS

// Assets are the files of the page, as bundle made them of page.
func Assets() fs.FS {
	f, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return f
}
