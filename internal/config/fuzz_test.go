package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sallyport/sallyport/internal/config"
)

// FuzzLoad holds that whatever a file contains, Load returns, and either fills the settings or says
// where the file is wrong; and that the same file gives the same settings or the same error again.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			b, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(b))
		}
	}
	file := filepath.Join(f.TempDir(), "fuzz.yaml")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 64<<10 || strings.Contains(text, "_file") {
			return // opening files of the fuzzer's choice tells nothing
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		first, again := defaults(), defaults()
		err := config.Load(first, config.Options{File: file})
		errAgain := config.Load(again, config.Options{File: file})
		if (err == nil) != (errAgain == nil) || err != nil && err.Error() != errAgain.Error() {
			t.Fatalf("two answers: %v, then %v", err, errAgain)
		}
		if err == nil {
			if !reflect.DeepEqual(first, again) {
				t.Fatalf("two results: %+v, then %+v", first, again)
			}
			return
		}
		problems := config.Problems(err)
		if len(problems) == 0 {
			t.Fatalf("an error without a problem: %v", err)
		}
		for _, p := range problems {
			if p.File != file || p.Line < 0 || p.Line > strings.Count(text, "\n")+2 || p.Column < 0 {
				t.Fatalf("a problem that is nowhere in the file: %+v", p)
			}
		}
	})
}
