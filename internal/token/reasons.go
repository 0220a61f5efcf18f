package token

// Description is one reason in words: the HTTP status that a gate answers with, what happened, and
// what to do about it.
type Description struct {
	Reason  Reason
	Status  int    // 400, 401, 403 or 503
	Meaning string // what happened, one sentence
	Remedy  string // what to do about it, one sentence
}

// Reasons lists every reason there is, in the order in which a request meets them. The slice is the
// caller's own.
func Reasons() []Description { return append([]Description(nil), descriptions...) }

// Reserved lists the reasons that no gate of this version gives. They keep their names for what
// will: HTTP checks (untrusted_peer) and the shedding of load (overloaded).
func Reserved() []Reason { return []Reason{ReasonUntrustedPeer, ReasonOverloaded} }

// Describe returns the description of one reason; ok is false when there is no such reason.
func (r Reason) Describe() (d Description, ok bool) {
	d, ok = byReason[r]
	return d, ok
}

// Known reports whether r is in the list that Reasons gives.
func (r Reason) Known() bool {
	_, ok := byReason[r]
	return ok
}

var byReason = func() map[Reason]Description {
	m := make(map[Reason]Description, len(descriptions))
	for _, d := range descriptions {
		m[d.Reason] = d
	}
	return m
}()

const (
	attack   = "No issuer makes such tokens: look at who sent it."
	atIssuer = "Correct it where the token is made."
)

var descriptions = []Description{
	{
		ReasonBadRequest,
		400,
		"The check request lacks what every request has, or a header that is judged is malformed.",
		"Look at what the proxy sends to the gate: its settings must be those of " +
			"deploy/config/envoy.yaml.",
	},
	{
		ReasonNotStripped,
		503,
		"The proxy does not remove headers by which clients could say who they are, as it is said to.",
		"Give Envoy the early_header_mutation_extensions and allowed_headers of " +
			"deploy/config/envoy.yaml, or, where it asks over gRPC, say `ext_authz.strip: all` at the gate.",
	},
	{
		ReasonUntrustedPeer,
		403,
		"The check came from an address that is not on the list of trusted proxies.",
		"Add the proxy's address to the list, if it is your proxy.",
	},
	{
		ReasonBadPath,
		400,
		"The path can be read in more than one way: it has an encoded slash, a dot segment, a " +
			"fragment or a parameter.",
		"Send the plain spelling, or let the proxy normalise paths.",
	},
	{
		ReasonPathCase,
		400,
		"The path or the method differs only in case from that of a stricter route, and the upstream " +
			"may not tell them apart.",
		"Spell it as the policy does; if the upstream does tell paths apart by case, say `path_case: " +
			"sensitive` in the policy.",
	},
	{
		ReasonNoRoute,
		403,
		"No route of the policy matches, and what no route allows is denied.",
		"Add a route for this path and method to the policy, if it is meant to be reached.",
	},
	{
		ReasonDenied,
		403,
		"The route that matches says deny.",
		"Change the route, if it is meant to be reached.",
	},
	{
		ReasonNoToken,
		401,
		"The route needs a token and the request carries none.",
		"Log in, and send the token as `Authorization: Bearer`.",
	},
	{
		ReasonManyTokens,
		401,
		"The request carries more than one token, or one in more than one place.",
		"Send exactly one, in one place.",
	},
	{
		ReasonScheme,
		401,
		"The Authorization header is not one Bearer credential.",
		"Send `Authorization: Bearer TOKEN`, with one space and nothing after the token.",
	},

	{
		ReasonTooLong,
		401,
		"The token is longer than 8 KiB.",
		"Put less into the token: long lists of roles or groups are the usual cause.",
	},
	{
		ReasonSegments,
		401,
		"The token is not three parts between two dots.",
		"Send a signed token in compact form; a refresh token, an opaque token and an encrypted one " +
			"are not access tokens.",
	},
	{
		ReasonBase64,
		401,
		"A part of the token is not base64url in its one spelling.",
		"Send the token as it was issued, without white space, padding or line breaks.",
	},
	{
		ReasonHeader,
		401,
		"The header is not one JSON object; that of a Sallyport issuer's token has one spelling.",
		"Send the token as it was issued; another issuer's entry must not say `ours: true`.",
	},
	{ReasonHeaderDuplicate, 401, "A name stands twice in the header.", attack},
	{
		ReasonHeaderCrit,
		401,
		"The header asks for extensions (crit, b64) that have no place in an access token.",
		attack,
	},
	{
		ReasonHeaderKey,
		401,
		"The header of a Sallyport issuer's token brings or points to a key (jwk, jku, x5u, x5c), " +
			"which none does.",
		"Look at who sent it; another issuer's entry must not say `ours: true`.",
	},
	{
		ReasonHeaderEncrypted,
		401,
		"The header is that of an encrypted, compressed or nested token.",
		"Have the issuer make plain signed tokens.",
	},
	{
		ReasonHeaderUnknown,
		401,
		"The header of a Sallyport issuer's token has a name that is not alg, kid, typ, x5t or x5t#S256.",
		"Look at who sent it; another issuer's entry must not say `ours: true`.",
	},
	{ReasonAlgMissing, 401, "The header names no algorithm.", attack},
	{ReasonAlgNone, 401, "The token says that it needs no signature.", attack},
	{
		ReasonAlg,
		401,
		"The algorithm is not one that this issuer signs with.",
		"If the issuer does sign with it, add it to the issuer's `algorithms`.",
	},
	{
		ReasonKeyIDMissing,
		401,
		"The header does not name its key, and the issuer does not have exactly one for the algorithm.",
		"Have the issuer set kid, or publish one key; a Sallyport issuer's tokens always name theirs.",
	},
	{
		ReasonKeyID,
		401,
		"The kid is not a string of 1 to 256 printable ASCII characters.",
		"Have the issuer name its keys so; if it does, look at who sent it.",
	},
	{
		ReasonTyp,
		401,
		"The typ is not that of this issuer's access tokens.",
		"Send the access token, not an ID or logout token; if that issuer's access tokens carry " +
			"another typ, set the issuer's `typ`.",
	},
	{ReasonUnsigned, 401, "The signature was cut off.", "Send the whole token."},

	{
		ReasonClaims,
		401,
		"The claims are not one JSON object in valid UTF-8, nested at most 16 deep.",
		attack,
	},
	{ReasonClaimDuplicate, 401, "A name stands twice in the claims.", attack},
	{ReasonIssuer, 401, "The token does not say who issued it.", atIssuer},
	{
		ReasonUnknownIssuer,
		401,
		"The token's issuer is not trusted here.",
		"Compare iss with the `issuer` settings letter by letter; a slash at the end counts.",
	},
	{
		ReasonNoKeys,
		503,
		"The gate has never had this issuer's keys.",
		"See whether the gate reaches the issuer's `jwks_url`; its log says what came back.",
	},
	{
		ReasonUnknownKey,
		401,
		"The issuer has published no key by this name.",
		"Log in again: the key may have been removed. If it happens after each rotation, publish " +
			"keys before they sign.",
	},
	{
		ReasonKeyPending,
		503,
		"The gate does not have the key that the token names, and has not heard yet from the issuer " +
			"whether there is one.",
		"Try again after a second; if it stays so, see in the gate's log whether it reaches the " +
			"issuer's `jwks_url`.",
	},
	{
		ReasonIssuerLifetime,
		503,
		"The issuer's max_lifetime exceeds how long revocations are kept.",
		"Lower the issuer's `max_lifetime`, or raise the revocation log's `max_token_lifetime` at " +
			"all issuers first.",
	},
	{
		ReasonDate,
		401,
		"A date is not a number of seconds within the years 1970 to 9999, a whole one in a Sallyport " +
			"issuer's token.",
		atIssuer,
	},
	{ReasonExpiryMissing, 401, "The token never expires.", "Have the issuer set exp."},
	{
		ReasonIssuedAtMissing,
		401,
		"The token does not say when it was made, so that no revocation by time could reach it.",
		"Have the issuer set iat.",
	},
	{
		ReasonSubject,
		401,
		"The subject is absent, empty, too long, not a string, or has control or invisible characters.",
		atIssuer,
	},
	{
		ReasonTokenID,
		401,
		"The token has no id of its own.",
		"Have the issuer set jti, or say in the issuer's `token_id` which claim it is, or none.",
	},
	{
		ReasonSessionID,
		401,
		"The session id is empty or not a string, or comes without auth_time.",
		atIssuer,
	},
	{
		ReasonAudienceMissing,
		401,
		"The token names no audience.",
		"Have the issuer set aud, or say in the issuer's `claims.audience` which claim it is.",
	},
	{
		ReasonAudience,
		401,
		"The token was made for another service.",
		"Ask the issuer for a token for this one; `audiences` of the issuer's entry, and of the route, " +
			"list what is accepted.",
	},
	{
		ReasonClaimShape,
		401,
		"A claim has another type than it has to have.",
		"Compare the issuer's `claims` settings with one of its tokens.",
	},
	{
		ReasonClaimRequired,
		401,
		"A claim that the issuer's `required_claims` lists is absent, null or false, or has another " +
			"value.",
		"Send the right kind of token, or correct `required_claims`.",
	},
	{
		ReasonTokenBound,
		401,
		"The token is bound to a key of its holder (cnf: DPoP, mTLS), and nothing here asks for that " +
			"key.",
		"Ask the issuer for a plain bearer token, or say `bound_tokens: allow` in the issuer's entry.",
	},

	{ReasonKeyType, 401, "The key that the token names is not one for its algorithm.", attack},
	{
		ReasonSignature,
		401,
		"The signature is not that of the issuer's key over this token.",
		"The token was altered or forged, or the issuer has changed a key without changing its kid.",
	},

	{
		ReasonRevoked,
		401,
		"The token, its session, user, client, tenant or key has been revoked.",
		"Log in again.",
	},
	{
		ReasonNoCopy,
		503,
		"The gate has no complete copy of the revocations yet.",
		"Wait for the gate to be ready; if it stays so, see whether it reaches Redis.",
	},
	{
		ReasonStale,
		503,
		"The gate's copy of the revocations is older than max_staleness.",
		"See whether the gate reaches Redis; `sallyport status` shows each gate's staleness.",
	},
	{ReasonExpired, 401, "The token's time is over.", "Refresh it."},
	{ReasonNotYetValid, 401, "The token is not valid yet.", "Compare the clocks of issuer and gate."},
	{
		ReasonIssuedInFuture,
		401,
		"The token says that it was made in the future.",
		"Compare the clocks of issuer and gate.",
	},
	{
		ReasonLifetime,
		401,
		"The token lives longer than allowed, or expires before it was made.",
		"Shorten the lifetime at the issuer, or raise the issuer's `max_lifetime`.",
	},

	{
		ReasonPolicy,
		403,
		"The token is of an issuer that the route does not take tokens of.",
		"Compare the route's `require.issuers` with the token's iss.",
	},
	{
		ReasonInsufficientRole,
		403,
		"The token lacks a role that the route asks for.",
		"Give the user the role and log in again, or correct the route.",
	},
	{
		ReasonInsufficientScope,
		403,
		"The token lacks a scope that the route asks for.",
		"Ask the issuer for the scope, or correct the route.",
	},
	{
		ReasonClaimSize,
		403,
		"A claim that the route hands on as a header or as metadata is longer than is handed on.",
		"Put less into the claim, or take it out of the route's `headers`: a value has at most 4 KiB, all " +
			"together 16 KiB.",
	},
	{
		ReasonConditionError,
		403,
		"The route's condition could not be evaluated for this token and request, or cost too much.",
		"Have the issuer set the claims that `require.when` reads, or ask in it whether they are there: " +
			"`has(claims.x)`.",
	},
	{
		ReasonCondition,
		403,
		"The route's condition does not hold for this token and request.",
		"Compare the route's `require.when` with the token's claims and the request.",
	},
	{
		ReasonACR,
		401,
		"The user was not authenticated in a way that the route asks for.",
		"Log in again in one of the ways that `acr_values` of the challenge names.",
	},
	{
		ReasonLoginTooOld,
		401,
		"The user was authenticated longer ago than the route permits, or the token does not say when.",
		"Log in again: `max_age` of the challenge says how many seconds ago it may be.",
	},
	{ReasonOverloaded, 503, "The gate has more to do than it can in time.", "Add gates or cores."},
	{ReasonInternal, 503, "The gate failed by itself.", "Its log has the error: please report it."},
}
