package meshtest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sallyport/sallyport/internal/meshtest"
)

// TestOnlyProgramsBuiltForTestsCanBeToldAnotherTime looks for the one door to the clocks in the
// programs as they are shipped, and in those built to be moved, where it must be found.
func TestOnlyProgramsBuiltForTestsCanBeToldAnotherTime(t *testing.T) {
	door := []byte("MOVABLE" + "_CLOCK")
	for dir, want := range map[string]bool{
		meshtest.Binaries(t, false): false, meshtest.MovableBinaries(t): true,
	} {
		for _, program := range []string{"authz", "issuer"} {
			content, err := os.ReadFile(filepath.Join(dir, program))
			if err != nil {
				t.Fatal(err)
			}
			if got := bytes.Contains(content, door); got != want {
				t.Errorf("%s names %s: expected %t, got %t", filepath.Join(dir, program), door, want, got)
			}
		}
	}
}
