package daemon

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestTheVersionIsWhatTheBuildHasSet(t *testing.T) {
	if got := BuildVersion("v1.2.3"); got != "v1.2.3" {
		t.Errorf("got %q", got)
	}
	if got := BuildVersion(strings.Repeat("v", 100)); len(got) != maxVersion {
		t.Errorf("a version of %d bytes would not fit into a line in Redis", len(got))
	}
	if BuildVersion("") == "" {
		t.Error("no version at all")
	}
}

func TestWithoutOneTheToolchainsIsTaken(t *testing.T) {
	commit := debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "c0ffee"}}}
	for want, info := range map[string]*debug.BuildInfo{
		"v1.0.0": {Main: debug.Module{Version: "v1.0.0"}},
		"c0ffee": {Main: debug.Module{Version: "(devel)"}, Settings: commit.Settings},
		"devel":  {Main: debug.Module{Version: "(devel)"}},
	} {
		if got := toolchainVersion(info, true); got != want {
			t.Errorf("expected %s, got %s", want, got)
		}
	}
	if got := toolchainVersion(nil, false); got != "unknown" {
		t.Errorf("got %q", got)
	}
}
