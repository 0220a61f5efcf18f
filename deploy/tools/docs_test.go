package tools

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// section returns the text of a page from one heading to the next of the same level.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("no heading %q", heading)
	}
	level, _, _ := strings.Cut(heading, " ")
	before, _, _ := strings.Cut(rest, "\n"+level+" ")
	return before
}

// keysIn returns the settings in the first column of a section's tables.
func keysIn(text string) []string {
	var keys []string
	for line := range strings.Lines(text) {
		first, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		for _, m := range regexp.MustCompile("`([a-z_0-9.]+)`").FindAllStringSubmatch(first, -1) {
			if strings.HasPrefix(line, "| ") {
				keys = append(keys, m[1])
			}
		}
	}
	return keys
}

// TestEverySettingIsDocumented compares docs/configuration.md with the flags of the daemons, which
// are made of their settings.
func TestEverySettingIsDocumented(t *testing.T) {
	bin, _ := programs(t)
	page := readFile(t, "docs/configuration.md")
	issuer, authz := section(t, page, "## issuer.yaml"), section(t, page, "## authz.yaml")
	var shared string
	for _, heading := range []string{"### redis", "### revocation"} {
		shared += section(t, issuer, heading)
	}
	listed, _, _ := strings.Cut(authz, "\n### issuers")
	listed += section(t, authz, "### cache, audit and drain") +
		section(t, authz, "### decision_log") + section(t, authz, "### ext_authz: towards Envoy") + section(t, authz, "### http_check: towards other proxies")
	for daemon, keys := range map[string][]string{
		"issuer": keysIn(issuer),
		"authz":  append(keysIn(listed), keysIn(shared)...),
	} {
		documented := map[string]bool{}
		for _, key := range keys {
			documented[flagOf(key)] = true
		}
		help, err := exec.CommandContext(t.Context(), filepath.Join(bin, daemon), "serve", "--help").
			CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, help)
		}
		flags := map[string]bool{}
		flag := regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z0-9-]+)`)
		for _, m := range flag.FindAllStringSubmatch(string(help), -1) {
			flags[m[1]] = true
			if m[1] != "config" && m[1] != "help" && !documented[m[1]] {
				t.Errorf("%s: the setting behind --%s is not documented", daemon, m[1])
			}
		}
		if len(flags) < 20 {
			t.Errorf("%s: only %d flags in its help", daemon, len(flags))
		}
		for _, key := range keys {
			if !flags[flagOf(key)] && !isSetting(t, daemon, key) {
				t.Errorf("%s: docs/configuration.md has the setting %s, which there is not", daemon, key)
			}
		}
	}
}

func flagOf(key string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(key) }

// isSetting finds out whether something that is no flag is a setting all the same: in the file, a
// key that is not known is an error of other words than a value of the wrong type.
func isSetting(t *testing.T, daemon, key string) bool {
	t.Helper()
	bin, _ := programs(t)
	text, indent := "", ""
	for part := range strings.SplitSeq(key, ".") {
		text += indent + part + ":\n"
		indent += "  "
	}
	file := filepath.Join(t.TempDir(), daemon+".yaml")
	if err := os.WriteFile(file, []byte(text+indent+"- {this: {is: [no, value]}}\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, daemon),
		"check", "--config", file).CombinedOutput()
	if err == nil {
		t.Fatalf("%s check takes any value for %s", daemon, key)
	}
	return !strings.Contains(string(out), "unknown key")
}

// TestNoSettingIsForgotten looks for each key of the settings' types, also of those that are no
// flags.
func TestNoSettingIsForgotten(t *testing.T) {
	page := readFile(t, "docs/configuration.md")
	tag := regexp.MustCompile("yaml:\"([a-z0-9_]+)")
	found := 0
	for _, room := range []string{
		"issuer", "authz", "authz/extauthz", "authz/gate", "authz/httpcheck", "internal/audit", "internal/credential",
		"internal/daemon", "internal/keyring", "internal/keyset", "internal/listen", "internal/policy",
		"internal/redisconn", "internal/revocation/redislog", "internal/sender", "internal/ssf/stream",
		"internal/token",
	} {
		files, err := filepath.Glob(filepath.Join(root, room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", room, len(files), err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			source, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range tag.FindAllSubmatch(source, -1) {
				found++
				if !regexp.MustCompile(`\b` + string(m[1]) + `\b`).MatchString(page) {
					t.Errorf("docs/configuration.md lacks %s, a key of %s", m[1], file)
				}
			}
		}
	}
	if found < 80 {
		t.Errorf("found only %d keys in the code: the search does not see what it should", found)
	}
}

// TestLinksLeadSomewhere follows the links between the pages, headings included.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]*)(#[^)\s]*)?\)`)
	code := regexp.MustCompile("(?ms)^```.*?^```$")
	pages := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == ".tools") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".md") {
			return nil
		}
		pages++
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(string(text), ""), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target := filepath.Join(filepath.Dir(path), m[1])
			if m[1] == "" {
				target = path
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if m[2] != "" && !hasAnchor(t, target, m[2][1:]) {
				t.Errorf("%s: %s has no heading %s", path, target, m[2])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if pages < 10 {
		t.Errorf("read only %d pages", pages)
	}
}

// hasAnchor reports whether a page has a heading that is linked to by that name.
func hasAnchor(t *testing.T, page, anchor string) bool {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	headings := regexp.MustCompile(`(?m)^#+ (.*)$`)
	for _, heading := range headings.FindAllStringSubmatch(string(text), -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		if strings.ReplaceAll(name, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// TestExamplePoliciesAreAccepted puts each into a whole authz.yaml.
func TestExamplePoliciesAreAccepted(t *testing.T) {
	bin, _ := programs(t)
	policies, err := filepath.Glob(filepath.Join(root, "examples/policies/*.yaml"))
	if err != nil || len(policies) < 2 {
		t.Fatalf("%d policies: %v", len(policies), err)
	}
	whole := readFile(t, "deploy/config/authz.yaml")
	before, after, ok := strings.Cut(whole, "\npolicy:\n")
	_, after, ok2 := strings.Cut(after, "\nredis:\n")
	if !ok || !ok2 {
		t.Fatal("deploy/config/authz.yaml has no policy before redis")
	}
	for _, path := range policies {
		policy, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, secrets := programs(t)
		file := filepath.Join(t.TempDir(), "authz.yaml")
		text := strings.ReplaceAll(before+"\n"+string(policy)+"\nredis:\n"+after, "/run/secrets/",
			secrets+"/authz/")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		check := exec.CommandContext(t.Context(), filepath.Join(bin, "authz"), "check", "--config", file)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
	}
}

// TestTheReadmeShowsHowToStartFirst, before it promises anything, and leads to what comes after.
func TestTheReadmeShowsHowToStartFirst(t *testing.T) {
	text := readFile(t, "README.md")
	last := -1
	for _, part := range []string{
		"make demo ", "deploy/secrets.sh ", "make image ", "docker compose up -d",
		"(docs/tutorial.md)", "(docs/day-2.md)", "(docs/production.md)", "\n## What is promised\n",
	} {
		at := strings.Index(text, part)
		if at <= last {
			t.Errorf("README.md has no %q, or not in its place", part)
		}
		last = at
	}
}

// composeCommand finds the service that a command of Docker Compose names.
var composeCommand = regexp.MustCompile(
	`docker compose (?:exec|restart|kill -s HUP|run --rm(?: -u \S+)?) ([a-z]+)`)

// TestThePagesForOperatorsNameWhatThereIs: every service, deployment, file and command that their
// command lines name.
func TestThePagesForOperatorsNameWhatThereIs(t *testing.T) {
	bin, _ := programs(t)
	project := compose(t)
	commands := 0
	check := func(page, line string) {
		commands++
		inside := line
		if strings.HasPrefix(line, "kubectl ") {
			_, inside, _ = strings.Cut(line, " -- ")
		}
		words := strings.Fields(inside)
		for i, word := range words {
			name := filepath.Base(word)
			ours := slices.Contains([]string{"sallyport", "operator", "issuer", "authz"}, name)
			if ours && i+1 < len(words) {
				program, arguments := name, words[i+1:]
				if name == "operator" {
					program = "sallyport"
				}
				if (program == "issuer" || program == "authz") && arguments[0] != "check" &&
					arguments[0] != "healthcheck" &&
					arguments[0] != "version" {
					continue
				}
				var known []string
				for _, a := range arguments {
					if strings.HasPrefix(a, "-") || !regexp.MustCompile(`^[a-z]+$`).MatchString(a) ||
						len(known) == 2 {
						break
					}
					known = append(known, a)
				}
				if len(known) == 0 {
					continue
				}
				if known[0] == "passwd" || known[0] == "status" || known[0] == "revoke" ||
					program != "sallyport" {
					known = known[:1]
				}
				out, err := exec.CommandContext(t.Context(), filepath.Join(bin, program),
					append(known, "--help")...).CombinedOutput()
				usage := "\n  " + program + " " + strings.Join(known, " ")
				if err != nil || !strings.Contains(string(out), usage) {
					t.Errorf("%s: %s has no command %v: %s", page, program, known, line)
				}
				for _, a := range arguments {
					if flag, ok := strings.CutPrefix(a, "--"); ok &&
						!strings.Contains(string(out), "--"+strings.Split(flag, "=")[0]+" ") {
						t.Errorf("%s: %s %v has no --%s", page, program, known, flag)
					}
				}
				break
			}
		}
		for _, m := range composeCommand.FindAllStringSubmatch(line, -1) {
			if _, ok := project.Services[m[1]]; !ok {
				t.Errorf("%s: no service %s: %s", page, m[1], line)
			}
		}
	}
	for _, page := range []string{"docs/day-2.md", "docs/alerts.md", "docs/production.md"} {
		for line := range strings.Lines(readFile(t, page)) {
			if command, ok := strings.CutPrefix(line, "    "); ok &&
				regexp.MustCompile(`^(docker|kubectl|\.tools)`).MatchString(command) {
				check(page, strings.TrimSpace(command))
			}
		}
	}
	if commands < 60 {
		t.Errorf("only %d command lines: the search does not see what it should", commands)
	}
}
