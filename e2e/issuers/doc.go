// Package issuers puts the tokens of real issuers in front of a real mesh: Flask-JWT-Extended,
// PyJWT, oidc-provider, Hydra, Keycloak, Kubernetes and SPIRE, each in a pinned version, with the
// entries of examples/issuers and examples/senders, hosts changed.
//
// Its tests have the build tag issuers and run by "make test-issuers", since what they start is
// large; a part that cannot be had fails with its name. What the issuers wrote is in testdata, in
// their own spelling, for tests that need no issuer.
package issuers
