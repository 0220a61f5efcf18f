package livefile

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// OpenRoots reads a file of certificate authorities in PEM.
func OpenRoots(files *Files, setting, path string) (*File[*x509.CertPool], error) {
	return Open(
		files,
		Spec[*x509.CertPool]{
			Setting: setting, Paths: []string{path},
			Parse: func(c [][]byte) (*x509.CertPool, error) { return parseRoots(c[0]) },
		},
	)
}

// parseRoots takes what x509.AppendCertsFromPEM does, which skips what it cannot read, but for a
// file that ends within a certificate: it is being written, and whoever took a part of it would
// refuse servers.
func parseRoots(content []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, errors.New("expected certificates in PEM, got none")
	}
	rest := content
	for block := (&pem.Block{}); block != nil; {
		block, rest = pem.Decode(rest)
	}
	if bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, errors.New("expected certificates in PEM, got one that has no end")
	}
	return pool, nil
}

// OpenPair reads a certificate and its key, both in PEM. setting names the certificate's file.
func OpenPair(files *Files, setting, certificate, key string) (*File[*tls.Certificate], error) {
	return Open(
		files,
		Spec[*tls.Certificate]{
			Setting: setting,
			Paths:   []string{certificate, key},
			Parse: func(c [][]byte) (*tls.Certificate, error) {
				pair, err := tls.X509KeyPair(c[0], c[1])
				if err != nil {
					return nil, err
				}
				return &pair, nil
			},
		},
	)
}
