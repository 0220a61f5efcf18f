package doors_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// debians returns the path of a program of Debian's. Without it the test fails and says how to get it.
func debians(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	path := filepath.Join("/usr/sbin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run `make doors`", name)
	}
	return path
}

// nginx starts NGINX with the configuration of its page, changed.
func nginx(t *testing.T, gate, upstream string, changes ...string) (address string) {
	t.Helper()
	dir, address := t.TempDir(), port(t)
	// Its workers have another user when it is started as root.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	site := write(t, filepath.Join(dir, "sallyport.conf"), placed(t, block(t, "nginx.md", "nginx", 0),
		append([]string{
			"server 127.0.0.1:10004;", "server " + gate + ";", "server 127.0.0.1:8080;",
			"server " + upstream + ";", "listen 8000;", "listen " + address + ";",
		}, changes...)...))
	main := write(t, filepath.Join(dir, "nginx.conf"), "daemon off;\npid "+dir+"/pid;\n"+
		"error_log stderr notice;\nevents {}\nhttp {\naccess_log off;\n"+
		"client_body_temp_path "+dir+"/body;\nproxy_temp_path "+dir+"/proxy;\n"+
		"fastcgi_temp_path "+dir+"/fastcgi;\nuwsgi_temp_path "+dir+"/uwsgi;\n"+
		"scgi_temp_path "+dir+"/scgi;\ninclude "+site+";\n}\n")
	spawn(t, "nginx", address, debians(t, "nginx"), "-p", dir, "-c", main)
	return address
}

// TestFirst is the way there and back.
func TestFirst(t *testing.T) {
	at, u := port(t), newUpstream(t)
	gate(t, "nginx", at, "--http-check-trusted-proxies", "127.0.0.1")
	address := nginx(t, at, u.address)
	a := get(t, address, "/protected", bearer(login(t, "alice")))
	t.Logf("%+v", a)
	for _, path := range []string{"/protected", "//x", "/closed", "/stale/x"} {
		t.Logf("%s: %+v", path, get(t, address, path))
		t.Logf("%s: %+v", path, get(t, address, path, bearer(login(t, "bob"))))
	}
}
