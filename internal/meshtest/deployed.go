package meshtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// DeployedRedis is what Redis is deployed with: tests run their servers with these files, so that
// what is deployed is what is tried.
type DeployedRedis struct {
	settings string // deploy/config/redis.conf
	users    string // deploy/redis/users.acl
}

// Deployed reads the files of Redis in the working tree at root.
func Deployed(root string) (DeployedRedis, error) {
	settings, err := os.ReadFile(filepath.Join(root, "deploy", "config", "redis.conf"))
	if err != nil {
		return DeployedRedis{}, fmt.Errorf("meshtest: %w", err)
	}
	users, err := os.ReadFile(filepath.Join(root, "deploy", "redis", "users.acl"))
	if err != nil {
		return DeployedRedis{}, fmt.Errorf("meshtest: %w", err)
	}
	return DeployedRedis{string(settings), string(users)}, nil
}

// Place is where a server of a test is, which no file that is deployed can know.
type Place struct {
	Dir, Port string
	Users     string // the file of the access list; without one there is none
	// Certificate and Key are files, as from [Certificate]; without them the server talks no TLS.
	Certificate, Key string
}

// Settings returns the lines of a server's file: those that are deployed, with its folder, its port
// and its files in the places of theirs. A setting that is to be replaced and is not there is an
// error: the files would no longer be those that are tried.
func (d DeployedRedis) Settings(p Place) ([]string, error) {
	replace := map[string]string{
		"bind":             "bind 127.0.0.1",
		"dir":              "dir " + p.Dir,
		"aclfile":          "",
		"port":             "port " + p.Port,
		"tls-port":         "",
		"tls-cert-file":    "",
		"tls-key-file":     "",
		"tls-ca-cert-file": "",
		"tls-auth-clients": "",
		"tls-protocols":    "",
	}
	if p.Users != "" {
		replace["aclfile"] = "aclfile " + p.Users
	}
	// With TLS, what is deployed of it stays, but for the files.
	if p.Certificate != "" {
		delete(replace, "port")
		delete(replace, "tls-auth-clients")
		delete(replace, "tls-protocols")
		replace["tls-port"] = "tls-port " + p.Port
		replace["tls-cert-file"] = "tls-cert-file " + p.Certificate
		replace["tls-key-file"] = "tls-key-file " + p.Key
		replace["tls-ca-cert-file"] = "tls-ca-cert-file " + p.Certificate
	}
	var lines []string
	for line := range strings.Lines(d.settings) {
		line = strings.TrimSpace(line)
		setting, _, _ := strings.Cut(line, " ")
		if with, found := replace[setting]; found {
			line = with
			delete(replace, setting)
		}
		if line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	for setting := range replace {
		return nil, fmt.Errorf("meshtest: deploy/config/redis.conf has no %s for a test to replace",
			setting)
	}
	return lines, nil
}

// Users returns the access list with the passwords of the users that it names.
func (d DeployedRedis) Users(passwords map[string]string) (string, error) {
	list := d.users
	for user, password := range passwords {
		blank := "#" + strings.ToUpper(user) + "_PASSWORD_SHA256"
		if !strings.Contains(list, blank) {
			return "", fmt.Errorf("meshtest: deploy/redis/users.acl has no %s", blank)
		}
		digest := sha256.Sum256([]byte(password))
		list = strings.ReplaceAll(list, blank, "#"+hex.EncodeToString(digest[:]))
	}
	return list, nil
}

// The users that servers with replicas need besides those that are deployed, as docs/operations.md
// names them: for a replica at its primary, and for the sentinels.
const (
	replicaUser  = "user replica on >%s resetkeys resetchannels -@all +psync +replconf +ping\n"
	sentinelUser = "user sentinel on >%s resetkeys allchannels -@all +multi +exec +slaveof +ping " +
		"+subscribe +publish +info +role +config|rewrite +client|setname +client|kill +script|kill\n"
)

// ServerUsers returns the lines of the users replica and sentinel, with one password.
func ServerUsers(password string) string {
	return fmt.Sprintf(replicaUser+sentinelUser, password, password)
}

// WithUsers is the same with another access list, made of the one that is deployed.
func (d DeployedRedis) WithUsers(change func(list string) string) DeployedRedis {
	d.users = change(d.users)
	return d
}
