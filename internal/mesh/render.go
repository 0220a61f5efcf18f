package mesh

import (
	"embed"
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed templates/*.tmpl
var templateFiles embed.FS

var templates = template.Must(template.New("").
	Option("missingkey=error").
	Funcs(template.FuncMap{"join": strings.Join}).
	ParseFS(templateFiles, "templates/*.tmpl"))

// The configuration files of a mesh, as they are named in its folder.
const (
	issuerFile = "issuer.yaml"
	authzFile  = "authz.yaml"
	envoyFile  = "envoy.yaml"
	usersFile  = "users.yaml"
)

// tokenFile holds the token of the issuers' admin API.
const tokenFile = "admin-token"

// Folders within a mesh's folder, as the configuration files name them.
const (
	keysDir  = "keys"
	cacheDir = "cache"
	logDir   = "log"
	redisDir = "redis"
)

// hostPort is an address in the forms in which configuration files want it.
type hostPort string

func (a hostPort) Host() string { host, _, _ := strings.Cut(string(a), ":"); return host }
func (a hostPort) Port() string { return portOf(string(a)) }

// settings is what the templates of the configuration files are filled with.
type settings struct {
	Iss, Audience string
	JWKS          string // where gates find the key set
	Keys          string
	UsersFile     string
	AdminToken    string // the file with the admin API's token
	Redis         string

	Gateway, EnvoyAdmin, Upstream hostPort
	Issuers, Gates                []place
	Processors                    int
	AllowedHeaders                []string // what gates read
	EncodeRawHeaders              bool
	GatewaySix                    bool // the gateway listens on ::1 too
	// Module is the gate that Envoy loads, and AuthzFile its settings; "": Envoy asks gates.
	Module, AuthzFile string

	Users []userEntry
}

// allowedHeaders is all that a gate reads of a request's headers.
var allowedHeaders = []string{
	"authorization", "x-access-token", // the token
	"x-sallyport-stripped",       // Envoy's own word that no client says who it is
	"connection",                 // does it have an identity header dropped on the way?
	"user-agent", "x-request-id", // for the audit line of a refusal
	"traceparent", // for the decision log
}

// place is one issuer or gate and what is its own.
type place struct {
	Name          string
	Listen, Admin hostPort
	Cache         string // a gate's own folder
	Flags         []string
}

// userEntry is a user as users.yaml has it.
type userEntry struct {
	Name         string
	Roles        []string
	PasswordHash string
}

// Issuer is the one that issuer.yaml is written for; the others have flags.
func (s settings) Issuer() place { return s.Issuers[0] }

// Gate is the one that authz.yaml is written for; the others have flags.
func (s settings) Gate() place { return s.Gates[0] }

// writeConfig writes the configuration files into dir.
func (s settings) writeConfig(dir string, rewrite func(name, content string) string) error {
	for _, name := range []string{issuerFile, authzFile, envoyFile, usersFile} {
		var text strings.Builder
		if err := templates.ExecuteTemplate(&text, name+".tmpl", s); err != nil {
			return fmt.Errorf("mesh: %s: %w", name, err)
		}
		content := text.String()
		if rewrite != nil {
			content = rewrite(name, content)
		}
		if err := mayReplace(filepath.Join(dir, name)); err != nil {
			return err
		}
		if err := replaceFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}
