// Package authztest holds the decisions that every transport in front of an authz.Engine has to
// give alike: a small world of issuers, tokens, revocations and routes, and a table of requests
// with their answers.
package authztest
