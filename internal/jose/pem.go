package jose

import (
	"bytes"
	"encoding/pem"
)

// PEMSecret is the type of a PEM block that holds the bytes of an HMAC secret.
const PEMSecret = "HMAC SECRET KEY"

// ParseSecretPEM reads an HMAC secret out of one PEM block of the type PEMSecret, for HS256. Its id
// is the one that NewSecretKey derives.
func ParseSecretPEM(data []byte) (*PublicKey, error) {
	block, err := OnePEM(data)
	if err != nil {
		return nil, err
	}
	if block.Type != PEMSecret {
		return nil, keyError(ProblemMalformed, "", "expected a PEM block %q, got %.32q", PEMSecret,
			block.Type)
	}
	return NewSecretKey("", block.Bytes)
}

// OnePEM reads PEM (RFC 7468) of exactly one block without headers, with only white space around
// it.
func OnePEM(data []byte) (*pem.Block, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, keyError(ProblemMalformed, "", "expected PEM, got none")
	case bytes.Count(data, []byte("-----BEGIN")) != 1:
		// pem.Decode would skip a damaged block and take the next.
		return nil, keyError(ProblemMalformed, "", "expected one PEM block, got more")
	case !bytes.HasPrefix(bytes.TrimSpace(data), []byte("-----BEGIN "+block.Type+"-----")):
		return nil, keyError(ProblemMalformed, "", "expected nothing before the PEM block")
	case len(bytes.TrimSpace(rest)) != 0:
		return nil, keyError(ProblemMalformed, "", "expected one PEM block and nothing after it")
	case len(block.Headers) != 0:
		return nil, keyError(ProblemMalformed, "",
			"expected a PEM block without headers (an encrypted one in the old style has them)")
	}
	return block, nil
}
