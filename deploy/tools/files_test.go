package tools

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the repository's folder.
const root = "../.."

// readFile returns a file of the repository.
func readFile(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// secretShapes are what a secret looks like when it is written down.
var secretShapes = map[string]*regexp.Regexp{
	"a private key": regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`),
	"a password hash": regexp.MustCompile(
		`\$(argon2(id|i|d)|2[aby]|6|scrypt|pbkdf2[a-z0-9-]*)\$[A-Za-z0-9./+,=$-]{20,}`,
	),
	"a password": regexp.MustCompile(`(?im)^[^#\n]*` +
		`\b(password|passwd|requirepass|masterauth|secret|auth_token|client_secret)\b` +
		`["']?\s*[:=]\s*["']?[A-Za-z0-9+/_-]{6,}["']?\s*$`),
	"a token":                   regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}`),
	"an ACL line with a secret": regexp.MustCompile(`(?m)^user \S+ .*[#>][0-9A-Za-z]{16,}`),
	"a Secret with content":     regexp.MustCompile(`(?m)^kind: Secret\b`),
}

// TestNoFileHoldsASecret reads every file that a user deploys from, or copies: each secret is a
// file that deploy/secrets.sh makes, outside the repository.
func TestNoFileHoldsASecret(t *testing.T) {
	read := 0
	for _, name := range []string{
		"docker-compose.yaml", "deploy", "k8s", "examples", "docs", "README.md",
	} {
		err := filepath.WalkDir(
			filepath.Join(root, name),
			func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				if d.IsDir() {
					if path == filepath.Join(root, "deploy/secrets") ||
						path == filepath.Join(root, "deploy/tools") {
						// the one is not part of the repository, the other has the shapes above
						return filepath.SkipDir
					}
					return nil
				}
				content, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				read++
				for what, shape := range secretShapes {
					if found := shape.Find(content); found != nil {
						t.Errorf("%s holds %s: %.60q", path, what, found)
					}
				}
				return nil
			},
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	if read < 15 {
		t.Errorf("read only %d files: the search does not see what it should", read)
	}
}

func TestSecretShapesKnowASecret(t *testing.T) {
	for what, example := range map[string]string{
		"a private key": "-----BEGIN " + "EC PRIVATE KEY-----",
		"a password hash": `password_hash: ` +
			`"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2g"`,
		"a password":                "  password: hunter22",
		"a token":                   "Bearer eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2ln",
		"an ACL line with a secret": "user gate on #" + strings.Repeat("0a", 32) + " ~*",
		"a Secret with content":     "kind: Secret",
	} {
		if !secretShapes[what].MatchString(example) {
			t.Errorf("%q is not known to be %s", example, what)
		}
	}
	for _, harmless := range []string{
		"  password_file: /run/secrets/redis_issuer_password", "# password: the ACL user's",
		"secretName: issuer-keys",
	} {
		for what, shape := range secretShapes {
			if shape.MatchString(harmless) {
				t.Errorf("%q is taken for %s", harmless, what)
			}
		}
	}
}

// TestSecretsAreNeverCommitted: the folder that deploy/secrets.sh fills is ignored by git and by
// the image's build.
func TestSecretsAreNeverCommitted(t *testing.T) {
	if !strings.Contains(readFile(t, "deploy/.gitignore"), "\n/secrets/\n") {
		t.Error("deploy/.gitignore does not name /secrets/")
	}
	if !strings.Contains(readFile(t, ".gitignore"), "\n/mine/\n") {
		t.Error(".gitignore does not name /mine/, where the tutorial makes passwords and keys")
	}
	for _, folder := range []string{"**/secrets", "mine"} {
		if !strings.Contains(readFile(t, ".dockerignore"), "\n"+folder+"\n") {
			t.Errorf(".dockerignore does not name %s", folder)
		}
	}
}

// TestDockerfileBuildsAnywhere: what no registry-less or rootless build could do is not in it.
func TestDockerfileBuildsAnywhere(t *testing.T) {
	for file, lines := range map[string][]string{
		"deploy/Dockerfile": {
			"ARG BASE_IMAGE=gcr.io/distroless/static-debian12:nonroot", "FROM ${BASE_IMAGE}",
			"USER 65532:65532",
		},
		"deploy/in-process/Dockerfile": {
			"ARG ENVOY_IMAGE=envoyproxy/envoy:v1.40.0", "FROM ${ENVOY_IMAGE}", "USER 101:101",
		},
	} {
		dockerfile := readFile(t, file)
		for _, line := range append(lines, "ARG GO_IMAGE=golang:1.26.8-bookworm",
			"FROM ${GO_IMAGE} AS build") {
			if !strings.Contains(dockerfile, "\n"+line+"\n") {
				t.Errorf("%s has no line %q", file, line)
			}
		}
		for _, bad := range []string{"# syntax=", "--mount=", "ADD ", "USER root", "curl "} {
			if strings.Contains(dockerfile, bad) {
				t.Errorf("%s has %q", file, bad)
			}
		}
	}
}

// TestImagesAreNamedByExactVersions: a wider tag is another image tomorrow. Whoever wants a digest
// is told how.
func TestImagesAreNamedByExactVersions(t *testing.T) {
	exact := regexp.MustCompile(`:v?\d+\.\d+\.\d+(-[a-z]+)?$`)
	found := 0
	image := regexp.MustCompile(`(?m)(?:^ *image: |^ARG [A-Z]+_IMAGE=)([a-z][^\s$]*)$`)
	for _, name := range []string{
		"docker-compose.yaml", "k8s/base/redis.yaml", "k8s/base/envoy.yaml", "deploy/Dockerfile",
		"deploy/in-process/Dockerfile",
	} {
		for _, m := range image.FindAllStringSubmatch(readFile(t, name), -1) {
			found++
			// distroless has no tags with versions.
			if !exact.MatchString(m[1]) && m[1] != "gcr.io/distroless/static-debian12:nonroot" {
				t.Errorf("%s runs %s, which is no exact version", name, m[1])
			}
		}
	}
	if found != 8 {
		t.Errorf("found %d images, expected eight", found)
	}
	if !strings.Contains(readFile(t, "docs/production.md"), "sha256:") {
		t.Error("docs/production.md does not say how to name an image by its digest")
	}
}

// TestTheImageIsToldItsVersion: git's own folder is no part of what docker is sent, so the script
// hands in what git has for the source, or what it is told; secrets.sh and the tests build by it,
// and Compose passes on what it is told.
func TestTheImageIsToldItsVersion(t *testing.T) {
	describe := exec.CommandContext(t.Context(), "git", "describe", "--tags", "--always", "--dirty")
	describe.Dir = root
	of, err := describe.Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\necho \"$@\"\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	for told, want := range map[string]string{"": strings.TrimSpace(string(of)), "v1.2.3": "v1.2.3"} {
		for file, arguments := range map[string][]string{
			"deploy/Dockerfile":            {"sallyport:x"},
			"deploy/in-process/Dockerfile": {"--in-process", "sallyport:x"},
		} {
			build := exec.CommandContext(t.Context(), "bash",
				append([]string{filepath.Join(root, "deploy/image.sh")}, arguments...)...)
			build.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "SALLYPORT_VERSION="+told)
			said, err := build.Output()
			if err != nil || !strings.Contains(string(said),
				"/"+file+" --build-arg VERSION="+want+" -t sallyport:x ") {
				t.Errorf("docker is told %q, expected %s and the version %s: %v", said, file, want, err)
			}
		}
	}
	for _, name := range []string{"deploy/secrets.sh", "deploy/lib.sh", "Makefile"} {
		if !strings.Contains(readFile(t, name), "deploy/image.sh") {
			t.Errorf("%s builds an image in another way", name)
		}
	}
}
