package envoy.authz

default result := {"allowed": false}

result := {"allowed": true, "headers": {"x-auth-subject": claims.sub}} if {
	allowed_path
	claims.sub != ""
}

token := substring(authorization, 7, -1) if {
	authorization := input.attributes.request.http.headers.authorization
	startswith(authorization, "Bearer ")
}

claims := payload if {
	[valid, _, payload] := io.jwt.decode_verify(token, {
		"cert": data.keys,
		"alg": "ES256",
		"iss": data.issuer,
		"aud": data.audience,
	})
	valid
}

allowed_path if startswith(input.attributes.request.http.path, "/api/")
