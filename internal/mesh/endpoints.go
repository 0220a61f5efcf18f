package mesh

import (
	"encoding/json"
	"fmt"
	"path/filepath"
)

// Endpoints is where the parts of a mesh are, and what is needed to use them: the content of
// endpoints.json.
type Endpoints struct {
	Gateway     string `json:"gateway"`      // base URL of Envoy, as http://127.0.0.1:10000
	Issuer      string `json:"issuer"`       // base URL of the first issuer
	IssuerAdmin string `json:"issuer_admin"` // base URL of its admin port
	EnvoyAdmin  string `json:"envoy_admin"`  // base URL of Envoy's admin port
	Gates       []Gate `json:"gates"`
	Redis       string `json:"redis"`    // host:port
	Iss         string `json:"iss"`      // the tokens' issuer claim
	Audience    string `json:"audience"` // the tokens' audience
	KeyDir      string `json:"key_dir"`  // absolute path of the key ring: PEM, not encrypted
	Users       []User `json:"users"`
	// AdminTokenFile is the absolute path of the file with the token of the issuers' admin API.
	AdminTokenFile string `json:"admin_token_file"`

	// Issuers are all issuers, the first one included; they share keys, users and the issuer claim.
	Issuers []Issuer `json:"-"`
	// Upstream is the base URL of the upstream, for looking past Envoy.
	Upstream string `json:"-"`
}

// Gate is where one gate is.
type Gate struct {
	Name  string `json:"name"`
	GRPC  string `json:"grpc"`  // host:port of ext_authz; "" inside Envoy
	Admin string `json:"admin"` // base URL
}

// Issuer is where one issuer is.
type Issuer struct {
	Name  string
	URL   string // base URL
	Admin string // base URL
}

// endpointsFile is the name that other tools wait for.
const endpointsFile = "endpoints.json"

// write moves endpoints.json into place: whoever sees it sees all of it, and a mesh that is ready.
func (e Endpoints) write(dir string) error {
	content, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		return fmt.Errorf("mesh: endpoints: %w", err)
	}
	return replaceFile(filepath.Join(dir, endpointsFile), append(content, '\n'), 0o600)
}
