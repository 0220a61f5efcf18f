package check

import (
	"net/http"

	"google.golang.org/grpc/codes"
)

// GRPCStatus returns what a refusal with an HTTP status is in gRPC. It is never OK.
func GRPCStatus(status int) codes.Code {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return codes.InvalidArgument
	case http.StatusUnauthorized, http.StatusFound: // to a login page
		return codes.Unauthenticated
	case http.StatusForbidden:
		return codes.PermissionDenied
	}
	return codes.Unavailable
}
