package doors_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/eventually"
	"github.com/sallyport/sallyport/internal/meshtest"
)

// wheel returns the path of a program that `make doors` has put in place.
func wheel(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(meshtest.Root(t), ".tools", "doors", "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is missing: run `make doors`", name)
	}
	return path
}

func portOf(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// traefik starts Traefik with the configuration of its page, changed.
func traefik(t *testing.T, gate, upstream string, changes ...string) (address string) {
	t.Helper()
	dir, address := t.TempDir(), port(t)
	static, dynamic := block(t, "traefik.md", "yaml", 1), filepath.Join(dir, "dynamic.yaml")
	ofStatic := []string{"/etc/traefik/dynamic.yaml", dynamic, `":8000"`, `"` + address + `"`}
	ofDynamic := []string{"127.0.0.1:10004", gate, "127.0.0.1:8080", upstream}
	for i := 0; i < len(changes); i += 2 {
		if strings.Contains(static, changes[i]) {
			ofStatic = append(ofStatic, changes[i], changes[i+1])
		} else {
			ofDynamic = append(ofDynamic, changes[i], changes[i+1])
		}
	}
	write(t, dynamic, placed(t, block(t, "traefik.md", "yaml", 2), ofDynamic...))
	file := write(t, filepath.Join(dir, "traefik.yaml"), placed(t, static, ofStatic...))
	spawn(t, "traefik", address, wheel(t, "traefik"), "--configFile="+file)
	routed(t, address)
	return address
}

// caddy starts Caddy with the configuration of its page, changed.
func caddy(t *testing.T, gate, upstream string, changes ...string) (address string) {
	t.Helper()
	dir, address := t.TempDir(), port(t)
	file := write(t, filepath.Join(dir, "Caddyfile"),
		placed(t, block(t, "caddy.md", "caddyfile", 0), append([]string{
			"http://:8000 {", "http://:" + portOf(t, address) + " {\n\tbind 127.0.0.1",
			"127.0.0.1:10004", gate, "127.0.0.1:8080", upstream,
		}, changes...)...))
	spawn(t, "caddy", address, wheel(t, "caddy"), "run", "--adapter", "caddyfile", "--config", file)
	return address
}

// haproxy starts HAProxy with the configuration of its page, changed.
func haproxy(t *testing.T, gate, upstream string, changes ...string) (address string) {
	t.Helper()
	dir, address := t.TempDir(), port(t)
	script := filepath.Join(meshtest.Root(t), "examples", "doors", "sallyport.lua")
	file := write(t, filepath.Join(dir, "haproxy.cfg"),
		placed(t, block(t, "haproxy.md", "haproxy", 0), append([]string{
			"/etc/haproxy/sallyport.lua", script, "bind :8000", "bind " + address,
			"127.0.0.1:10004", gate, "127.0.0.1:8080", upstream,
		}, changes...)...))
	spawn(t, "haproxy", address, debians(t, "haproxy"), "-db", "-f", file)
	return address
}

// routed waits until a proxy has read its routes.
func routed(t *testing.T, address string) {
	t.Helper()
	eventually.True(
		t,
		"it has routes",
		func() bool { return get(t, address, "/files/x").status != 404 },
	)
}

// envoy starts Envoy with the configuration of its page, changed.
func envoy(t *testing.T, gate, upstream string, changes ...string) (address string) {
	t.Helper()
	address = port(t)
	file := write(t, filepath.Join(t.TempDir(), "envoy.yaml"),
		placed(t, block(t, "envoy-http.md", "yaml", 1), append([]string{
			"{address: 0.0.0.0, port_value: 8000}",
			"{address: 127.0.0.1, port_value: " + portOf(t, address) + "}",
			"http://127.0.0.1:10004", "http://" + gate,
			"port_value: 10004", "port_value: " + portOf(t, gate),
			"port_value: 8080", "port_value: " + portOf(t, upstream),
		}, changes...)...))
	spawn(t, "envoy", address, meshtest.Envoy(t), "-c", file, "--concurrency", "1", "-l", "warning",
		"--use-dynamic-base-id")
	return address
}

// debians returns the path of a program of Debian's. Without it the test fails and says how to get
// it.
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
	site := write(
		t,
		filepath.Join(dir, "sallyport.conf"),
		placed(t, block(t, "nginx.md", "nginx", 0),
			append([]string{
				"server 127.0.0.1:10004;", "server " + gate + ";", "server 127.0.0.1:8080;",
				"server " + upstream + ";", "listen 8000;", "listen " + address + ";",
			}, changes...)...),
	)
	user := ""
	if os.Geteuid() == 0 { // else its workers cannot read the test's folders
		user = "user root;\n"
	}
	main := write(t, filepath.Join(dir, "nginx.conf"), user+"daemon off;\npid "+dir+"/pid;\n"+
		"error_log stderr notice;\nevents {}\nhttp {\naccess_log off;\n"+
		"client_body_temp_path "+dir+"/body;\nproxy_temp_path "+dir+"/proxy;\n"+
		"fastcgi_temp_path "+dir+"/fastcgi;\nuwsgi_temp_path "+dir+"/uwsgi;\n"+
		"scgi_temp_path "+dir+"/scgi;\ninclude "+site+";\n}\n")
	spawn(t, "nginx", address, debians(t, "nginx"), "-p", dir, "-c", main)
	return address
}
