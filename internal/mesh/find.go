package mesh

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
)

// wheelEnvoy is where Envoy lies in a folder that `make envoy` has filled.
const wheelEnvoy = ".tools/venv/lib/python3*/site-packages/envoy/_bin/envoy"

var errNoEnvoy = errors.New("mesh: no envoy found: run `make envoy` in a clone of Sallyport, " +
	"install envoy into $PATH, or name it in $SALLYPORT_ENVOY")

// FindEnvoy looks for an envoy program: $SALLYPORT_ENVOY, then what `make envoy` has put below one
// of the folders, then $PATH.
func FindEnvoy(folders ...string) (string, error) {
	if path := os.Getenv("SALLYPORT_ENVOY"); path != "" {
		return path, nil
	}
	for _, folder := range folders {
		found, err := filepath.Glob(filepath.Join(folder, wheelEnvoy))
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path, nil
	}
	return "", errNoEnvoy
}
