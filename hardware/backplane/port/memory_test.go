package port

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "panels.json")
	m, err := OpenMemory(path)
	if err != nil {
		t.Fatal(err)
	}
	patch := []string{"deployment/web", "pod/a", "pod/b", "pod/c"}
	var here []Info
	come := func(serial, wish, want string) {
		t.Helper()
		id, ok, err := m.Choose(Panel{Port: serial, Kind: "pod", Serial: serial, Wish: wish}, patch, here)
		if err != nil || ok != (want != "") || id != want {
			t.Errorf("panel %s is %q, %v, %v; want %q", serial, id, ok, err, want)
		}
		here = append(here, Info{Port: serial, Serial: serial, Module: id, State: "playing"})
	}
	come("1", "", "pod/a")
	come("2", "pod/c", "pod/c")
	come("3", "pod/c", "pod/b")
	come("4", "", "")
	if m, err = OpenMemory(path); err != nil { // another day, in another order
		t.Fatal(err)
	}
	here = nil
	come("3", "", "pod/b")
	come("4", "", "pod/a") // what 1 was, as nothing else is left
	here = nil
	come("2", "", "pod/c")
	// A scene without its module: another for now, and its own again after.
	patch, here = []string{"pod/x"}, nil
	come("2", "", "pod/x")
	patch, here = []string{"pod/a", "pod/b", "pod/c"}, nil
	come("2", "", "pod/c")
	if err := m.Set("2", "pod/a"); err != nil {
		t.Fatal(err)
	}
	here = nil
	come("2", "", "pod/a")

	// Two that say they are the same one are two all the same; one that moved is not.
	here = []Info{{Port: "left", Serial: "2", Module: "pod/a", State: "playing"}}
	for want, at := range map[string]Info{"pod/b": here[0], "pod/a": {Port: "left", Serial: "2", State: "closed"}} {
		m.by = map[string]string{"2": "pod/a"}
		if id, _, err := m.Choose(Panel{Port: "right", Kind: "pod", Serial: "2", Wish: "pod/a"}, patch, []Info{at}); err != nil || id != want {
			t.Errorf("a second panel 2 beside %+v is %q, %v; want %q", at, id, err, want)
		}
	}
	if err := os.WriteFile(path, []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if m, err = OpenMemory(path); err == nil || m == nil {
		t.Error("a broken file is no error")
	}
	here = nil
	come("9", "", "pod/a")
}
