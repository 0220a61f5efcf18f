package daemon

import "runtime/debug"

// maxVersion is the longest version in bytes: it stands in the lines that processes write into
// Redis.
const maxVersion = 64

// BuildVersion returns what the build has set (-ldflags "-X main.version=..."), else what the Go
// toolchain knows: the module's version, or the commit that it was built from.
func BuildVersion(set string) string {
	version := set
	if version == "" {
		info, ok := debug.ReadBuildInfo()
		version = toolchainVersion(info, ok)
	}
	return version[:min(len(version), maxVersion)]
}

func toolchainVersion(info *debug.BuildInfo, ok bool) string {
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "devel"
}
