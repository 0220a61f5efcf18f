package authz_test

import "github.com/sallyport/sallyport/internal/token"

// shapes are what public bug reports and the issuers' own pages show of tokens, in that spelling;
// e2e/issuers/testdata has the bytes of issuers that were run.
var shapes = []shape{
	{
		name: "Keycloak: blanks in the header", entry: keycloakNames, header: keycloakHeader,
		claims: keycloakFront + `,"aud":["orders","account"],"sub":"1f7a","typ":"Bearer","azp":"web","sid":"c1b0","acr":"1","allowed-origins":["https://shop.example.com"],"realm_access":{"roles":["offline_access","admin"]},"resource_access":{"orders":{"roles":["manager"]},"account":{"roles":["view-profile"]}},"scope":"openid email","email_verified":true}`,
		who:    "sub=1f7a; id=onrtro:8d5f2f0e; session=c1b0; client=web; scope=openid email; roles=offline_access,admin,manager",
	},
	{
		name: "Keycloak: a client's own token, without a session", entry: keycloakNames, header: keycloakHeader,
		claims: keycloakFront + `,"aud":"orders","sub":"9c11","typ":"Bearer","azp":"machine","acr":"1","scope":"email","clientHost":"127.0.0.1","client_id":"machine"}`,
		who:    "sub=9c11; id=onrtro:8d5f2f0e; client=machine; scope=email",
	},
	{
		name: "Keycloak: a user's lightweight token, without sub", entry: keycloakNames, header: keycloakHeader,
		claims: keycloakFront + `,"typ":"Bearer","azp":"web","sid":"c1b0","scope":"email"}`,
		reason: token.ReasonSubject,
	},
	{
		name: "Keycloak: for account alone", entry: keycloakNames, header: keycloakHeader,
		claims: keycloakFront + `,"aud":"account","sub":"1f7a","typ":"Bearer","azp":"web","sid":"c1b0"}`,
		reason: token.ReasonAudience,
	},
	{
		name: "Keycloak: an ID token", entry: keycloakNames, header: keycloakHeader,
		claims: keycloakFront + `,"aud":"orders","sub":"1f7a","typ":"ID","azp":"orders","sid":"c1b0"}`,
		reason: token.ReasonClaimRequired,
	},
	{
		name: "Keycloak: an offline token", entry: keycloakNames, header: keycloakHeader,
		claims: keycloakFront + `,"aud":"orders","sub":"1f7a","typ":"Offline","azp":"orders","sid":"c1b0"}`,
		reason: token.ReasonClaimRequired,
	},
	{
		name: "Keycloak: a logout token", entry: keycloakNames,
		header: `{"alg":"RS256","typ" : "logout+jwt","kid" : "FJ86"}`,
		claims: keycloakFront + `,"aud":"orders","sub":"1f7a","typ":"Logout","sid":"c1b0","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`,
		reason: token.ReasonTyp,
	},
	{
		name: "a logout token with the typ of access tokens", entry: plainEntry, header: plainHeader,
		claims: plainFront + plainDates + `,"sid":"1","events":{"http://schemas.openid.net/event/backchannel-logout":{}}}`,
		reason: token.ReasonTyp,
	},
	{
		name: "a claim of one's own that is called events", entry: plainEntry, header: plainHeader,
		claims: plainFront + plainDates + `,"events":["signup"]}`,
		who:    "sub=alice; id=j1",
	},
	{
		name: "Keycloak: bound by DPoP", entry: keycloakEntry, header: keycloakHeader,
		claims: keycloakFront + `,"aud":"orders","sub":"1f7a","typ":"DPoP","azp":"web","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}`,
		reason: token.ReasonTokenBound,
	},
	{
		name: "Keycloak: bound by DPoP, which the entry allows", header: keycloakHeader,
		entry:  keycloakEntry + "\nbound_tokens: allow\nclaims: {client_id: azp}",
		claims: keycloakFront + `,"aud":"orders","sub":"1f7a","typ":"DPoP","azp":"web","cnf":{"jkt":"0ZcO"}}`,
		who:    "sub=1f7a; id=onrtro:8d5f2f0e; client=web",
	},
	{
		name: "bound by mTLS", entry: plainEntry, header: plainHeader,
		claims: plainFront + plainDates + `,"cnf":{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}}`,
		reason: token.ReasonTokenBound,
	},
	{
		name: "cnf null, which binds to nothing", entry: plainEntry, header: plainHeader,
		claims: plainFront + plainDates + `,"cnf":null}`, who: "sub=alice; id=j1",
	},
	{
		name: "Entra: version 2.0", entry: entraEntry,
		header: `{"typ":"JWT","alg":"RS256","kid":"tmCRkN"}`,
		claims: `{"iss":"https://login.microsoftonline.com/72f988bf/v2.0",` + entraClaims,
		who:    "sub=690222be; id=fqiBqXLP; client=0d4d7a3e; tenant=72f988bf; scope=Orders.Read Orders.Write; roles=Orders.Admin",
	},
	{
		name: "Entra: nonce and x5t in the header", entry: entraEntry,
		header: `{"typ":"JWT","nonce":"SdMUmgUxUoMoPV2eVYHs5uIvM4mC4Iy1UWVl6VfF2mI","alg":"RS256","x5t":"tmCRkN","kid":"tmCRkN"}`,
		claims: `{"iss":"https://login.microsoftonline.com/72f988bf/v2.0",` + entraClaims,
		who:    "sub=690222be; id=fqiBqXLP; client=0d4d7a3e; tenant=72f988bf; scope=Orders.Read Orders.Write; roles=Orders.Admin",
	},
	{
		name: "Entra: another tenant's, where the entry names one", entry: entraEntry,
		header: `{"typ":"JWT","alg":"RS256","kid":"tmCRkN"}`,
		claims: `{"iss":"https://login.microsoftonline.com/9188040d/v2.0",` + entraClaims,
		reason: token.ReasonUnknownIssuer,
	},
	{
		name: "Clerk: cat in the header, no aud", entry: clerkEntry,
		header: `{"alg":"RS256","cat":"cl_B7d4PD111AAA","kid":"ins_2x","typ":"JWT"}`,
		claims: clerkClaims,
		who:    "sub=user_2a; id=8f1d7a; session=sess_2b; client=https://app.example.com",
	},
	{
		name:   "Clerk: no aud, where the entry names some",
		entry:  "issuer: https://clerk.example.com\naudiences: [orders]\nalgorithms: [RS256]\ntyp: JWT",
		header: `{"alg":"RS256","cat":"cl_B7d4PD111AAA","kid":"ins_2x","typ":"JWT"}`,
		claims: clerkClaims, reason: token.ReasonAudienceMissing,
	},
	{
		name: "Cloud Foundry UAA: jku in the header",
		entry: `issuer: https://uaa.example.com/oauth/token
audiences: [orders]
algorithms: [RS256]
typ: JWT
max_lifetime: 12h
claims: {client_id: cid, tenant: zid}`,
		header: `{"alg":"RS256","jku":"https://uaa.example.com/token_keys","kid":"key-1","typ":"JWT"}`,
		claims: `{"jti":"a1","sub":"8e3f","scope":["openid","orders.read"],"client_id":"web","cid":"web","azp":"web","grant_type":"password","user_id":"8e3f","origin":"uaa","user_name":"a","auth_time":1799999999,"rev_sig":"1f","iat":1800000000,"exp":1800043200,"iss":"https://uaa.example.com/oauth/token","zid":"uaa","aud":["orders","openid","web"]}`,
		who:    "sub=8e3f; id=a1; client=web; tenant=uaa; scope=openid orders.read",
	},
	{
		name: "SAP XSUAA: jku and jid in the header, objects among the claims",
		entry: `issuer: https://shop.authentication.eu10.hana.ondemand.com/oauth/token
audiences: ["orders!t1"]
algorithms: [RS256]
typ: JWT
max_lifetime: 12h
claims: {client_id: cid, tenant: zid}`,
		header: `{"alg":"RS256","jku":"https://shop.authentication.eu10.hana.ondemand.com/token_keys","kid":"default-jwt-key--1","typ":"JWT","jid":"x"}`,
		claims: `{"jti":"b2","ext_attr":{"enhancer":"XSUAA","zdn":"shop"},"xs.system.attributes":{"xs.rolecollections":[]},"sub":"sb-orders!t1","scope":["orders!t1.read"],"client_id":"sb-orders!t1","cid":"sb-orders!t1","iat":1800000000,"exp":1800043200,"iss":"https://shop.authentication.eu10.hana.ondemand.com/oauth/token","zid":"z-1","aud":["orders!t1"]}`,
		who:    "sub=sb-orders!t1; id=b2; client=sb-orders!t1; tenant=z-1; scope=orders!t1.read",
	},
	{
		name: "PingFederate: pi.atm in the header, no typ",
		entry: `issuer: https://ping.example.com
audiences: [orders]
algorithms: [RS256]
typ: none
max_lifetime: 2h`,
		header: `{"alg":"RS256","kid":"k1","pi.atm":"2"}`,
		claims: `{"scope":["read"],"client_id":"web","iss":"https://ping.example.com","aud":"orders","sub":"joe","jti":"p1","iat":1800000000,"exp":1800007199}`,
		who:    "sub=joe; id=p1; client=web; scope=read",
	},
	{
		name: "ADFS: auth_time a text", entry: adfsEntry,
		header: `{"typ":"JWT","alg":"RS256","x5t":"aHBN","kid":"aHBN"}`,
		claims: `{"aud":"microsoft:identityserver:orders","iss":"http://adfs.example.com/adfs/services/trust","iat":1800000000,"nbf":1800000000,"exp":1800003600,"sub":"zl2o","apptype":"Public","appid":"web","authmethod":"urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport","auth_time":"2027-01-15T07:59:00.000Z","ver":"1.0","scp":"openid"}`,
		who:    "sub=zl2o; client=web; scope=openid",
	},
	{
		name: "Supabase: amr of objects", entry: supabaseEntry,
		header: `{"alg":"HS256","kid":"k1","typ":"JWT"}`,
		claims: supabaseFront + `,"is_anonymous":false,"user_metadata":{}}`,
		who:    "sub=d7f5; session=1b2c; roles=authenticated",
	},
	{
		name: "Supabase: an anonymous user, whom the entry does not want", entry: supabaseEntry,
		header: `{"alg":"HS256","kid":"k1","typ":"JWT"}`,
		claims: supabaseFront + `,"is_anonymous":true,"user_metadata":{}}`,
		reason: token.ReasonClaimRequired,
	},
	{
		name: "Zitadel: roles an object", entry: zitadelEntry,
		header: `{"alg":"RS256","kid":"2331","typ":"JWT"}`,
		claims: `{"aud":["2331","2332"],"client_id":"2330","exp":1800043199,"iat":1800000000,"iss":"https://zitadel.example.com","jti":"V2_1","nbf":1800000000,"sub":"1638","urn:zitadel:iam:org:project:roles":{"admin":{"2290":"shop.zitadel.example.com"},"reader":{"2290":"shop.zitadel.example.com"}}}`,
		who:    "sub=1638; id=V2_1; client=2330; roles=admin,reader",
	},
	{
		name: "Zitadel: roles with a number for an object", entry: zitadelEntry,
		header: `{"alg":"RS256","kid":"2331","typ":"JWT"}`,
		claims: `{"aud":["2331"],"exp":1800043199,"iat":1800000000,"iss":"https://zitadel.example.com","jti":"V2_1","sub":"1638","urn:zitadel:iam:org:project:roles":{"admin":1}}`,
		reason: token.ReasonClaimShape,
	},
	{
		name: "Google: iss with https", entry: "issuer: https://accounts.google.com\n" + googleNames,
		header: plainHeader, claims: `{"iss":"https://accounts.google.com",` + googleClaims,
		who: "sub=1076; client=orders.apps.googleusercontent.com",
	},
	{
		name:  "Google: iss without https, by an entry of its own",
		entry: "issuer: accounts.google.com\n" + googleNames, header: plainHeader,
		claims: `{"iss":"accounts.google.com",` + googleClaims,
		who:    "sub=1076; client=orders.apps.googleusercontent.com",
	},
	{
		name:  "Google: iss without https, by the other entry",
		entry: "issuer: https://accounts.google.com\n" + googleNames, header: plainHeader,
		claims: `{"iss":"accounts.google.com",` + googleClaims, reason: token.ReasonUnknownIssuer,
	},
	{
		name: "Firebase: claims that are true, or a number", entry: firebaseEntry, header: plainHeader,
		claims: `{"admin":true,"email_verified":true,"level":3,` + firebaseClaims, who: "sub=u1",
	},
	{
		name: "Firebase: admin false", entry: firebaseEntry, header: plainHeader,
		claims: `{"admin":false,"email_verified":true,"level":3,` + firebaseClaims,
		reason: token.ReasonClaimRequired,
	},
	{
		name: "Firebase: email_verified false", entry: firebaseEntry, header: plainHeader,
		claims: `{"admin":true,"email_verified":false,"level":3,` + firebaseClaims,
		reason: token.ReasonClaimRequired,
	},
	{
		name: "Firebase: another level", entry: firebaseEntry, header: plainHeader,
		claims: `{"admin":true,"email_verified":true,"level":30,` + firebaseClaims,
		reason: token.ReasonClaimRequired,
	},
	{
		name: "GitHub Actions: nbf ten minutes before iat",
		entry: `issuer: https://token.actions.githubusercontent.com
audiences: [orders]
algorithms: [RS256]
typ: JWT
claims: {tenant: repository_owner_id}`,
		header: `{"typ":"JWT","alg":"RS256","x5t":"eBZ_","kid":"38826b17"}`,
		claims: `{"jti":"g1","sub":"repo:octo-org/octo-repo:environment:prod","environment":"prod","aud":"orders","ref":"refs/heads/main","repository":"octo-org/octo-repo","repository_owner_id":"65","run_attempt":"2","iss":"https://token.actions.githubusercontent.com","nbf":1799999400,"exp":1800000300,"iat":1800000000}`,
		who:    "sub=repo:octo-org/octo-repo:environment:prod; id=g1; tenant=65",
	},
	{
		name: "GitLab CI: nbf five seconds before iat",
		entry: `issuer: https://gitlab.example.com
audiences: [orders]
algorithms: [RS256]
typ: JWT
claims: {tenant: namespace_id}`,
		header: `{"kid":"4i3s","typ":"JWT","alg":"RS256"}`,
		claims: `{"namespace_id":"72","namespace_path":"g","project_id":"20","user_login":"a","pipeline_id":"1","ref_protected":"true","jti":"235b","iat":1800000000,"nbf":1799999995,"exp":1800003600,"iss":"https://gitlab.example.com","aud":"orders","sub":"project_path:g/p:ref_type:branch:ref:main"}`,
		who:    "sub=project_path:g/p:ref_type:branch:ref:main; id=235b; tenant=72",
	},
	{
		name: "lcobucci/jwt: fractional dates, no kid", entry: plainEntry,
		header: `{"typ":"JWT","alg":"RS256"}`,
		claims: plainFront + `,"iat":1800000000.123456,"nbf":1800000000.123456,"exp":1800003600.123456}`,
		who:    "sub=alice; id=j1",
	},
	{
		name: "lcobucci/jwt: made in the future, by a fraction", entry: plainEntry + "\nclock_skew: 0s",
		header: `{"typ":"JWT","alg":"RS256"}`,
		claims: plainFront + `,"iat":1800000060.000001,"exp":1800003600}`,
		reason: token.ReasonIssuedInFuture,
	},
	{
		name: "lcobucci/jwt: expired by a fraction", entry: plainEntry + "\nclock_skew: 0s",
		header: `{"typ":"JWT","alg":"RS256"}`,
		claims: plainFront + `,"iat":1799999000,"exp":1800000059.999999}`,
		reason: token.ReasonExpired,
	},
	{
		name: "Laravel Passport: no iss", entry: plainEntry, header: `{"typ":"JWT","alg":"RS256"}`,
		claims: `{"aud":"orders","jti":"d1","iat":1800000000.123456,"nbf":1800000000.123456,"exp":1800003600.123456,"sub":"1","scopes":[]}`,
		reason: token.ReasonIssuer,
	},
	{
		name: "dates with exponents", entry: plainEntry, header: plainHeader,
		claims: plainFront + `,"iat":1.8e+09,"nbf":18e8,"exp":1.8000036E9}`, who: "sub=alice; id=j1",
	},
	{
		name: "dates as texts", entry: plainEntry, header: plainHeader,
		claims: plainFront + `,"iat":"1800000000","exp":"1800003600"}`, reason: token.ReasonDate,
	},
	{
		name: "dates in milliseconds", entry: plainEntry, header: plainHeader,
		claims: plainFront + `,"iat":1800000000000,"exp":1800003600000}`, reason: token.ReasonDate,
	},
	{
		name: "Duende IdentityServer: one role, a text",
		entry: `issuer: https://duende.example.com
audiences: [orders]
algorithms: [RS256]
claims: {roles: [role]}`,
		header: `{"alg":"RS256","kid":"B9A1","typ":"at+jwt"}`,
		claims: `{"iss":"https://duende.example.com","nbf":1800000000,"iat":1800000000,"exp":1800003600,"aud":"orders","scope":["openid","orders"],"amr":["pwd"],"client_id":"web","sub":"88421113","auth_time":1799999990,"idp":"local","role":"admin","sid":"6F1C","jti":"A0E7"}`,
		who:    "sub=88421113; id=A0E7; session=6F1C; client=web; scope=openid orders; roles=admin",
	},
	{
		name: "RFC 9068 with its tree, in capitals", header: `{"alg":"RS256","kid":"k1","typ":"Application/AT+JWT"}`,
		entry:  "issuer: https://issuer.example.com\naudiences: [orders]\nalgorithms: [RS256]",
		claims: plainClaims, who: "sub=alice; id=j1",
	},
	{
		name: "Hydra: a second longer", entry: hydraEntry + "audiences: [orders]", header: hydraHeader,
		claims: `{"aud":["orders"],"client_id":"shop","exp":1800003601,` + hydraBack,
		who:    "sub=alice; id=6b80; session=59c5; client=shop; scope=openid orders:read; roles=admin,user",
	},
	{
		name: "Hydra: two seconds longer", entry: hydraEntry + "audiences: [orders]", header: hydraHeader,
		claims: `{"aud":["orders"],"client_id":"shop","exp":1800003602,` + hydraBack,
		reason: token.ReasonLifetime,
	},
	{
		name: "Hydra: for nobody, where anybody is meant", entry: hydraEntry + "any_audience: true",
		header: hydraHeader, claims: `{"aud":[],"client_id":"shop","exp":1800003600,` + hydraBack,
		who: "sub=alice; id=6b80; session=59c5; client=shop; scope=openid orders:read; roles=admin,user",
	},
	{
		name: "Hydra: for nobody, where the entry names audiences", entry: hydraEntry + "audiences: [orders]",
		header: hydraHeader, claims: `{"aud":[],"client_id":"shop","exp":1800003600,` + hydraBack,
		reason: token.ReasonAudience,
	},
	{
		name:  "aud null, where anybody is meant",
		entry: hydraEntry + "any_audience: true", header: hydraHeader,
		claims: `{"aud":null,"client_id":"shop","exp":1800003600,` + hydraBack,
		who:    "sub=alice; id=6b80; session=59c5; client=shop; scope=openid orders:read; roles=admin,user",
	},
	{
		name: "Kubernetes: no typ",
		entry: `issuer: https://kubernetes.default.svc
audiences: [orders]
algorithms: [RS256]
typ: none
claims: {session: /kubernetes.io/pod/uid, tenant: /kubernetes.io/namespace, scope: none, roles: []}`,
		header: `{"alg":"RS256","kid":"JxyrXFIYTbTyTzl7U9t2-nWu7UfPoptJcvesNyRBeG0"}`,
		claims: `{"aud":["orders"],"exp":1800003600,"iat":1800000000,"iss":"https://kubernetes.default.svc","jti":"d3f1","kubernetes.io":{"namespace":"shop","pod":{"name":"a","uid":"d68f"},"serviceaccount":{"name":"a","uid":"8cad"}},"nbf":1800000000,"sub":"system:serviceaccount:shop:a"}`,
		who:    "sub=system:serviceaccount:shop:a; id=d3f1; session=d68f; tenant=shop",
	},
	{
		name:   "Kubernetes: a secret's token, which never expires",
		entry:  "issuer: kubernetes/serviceaccount\nany_audience: true\nalgorithms: [RS256]\ntyp: none\ntoken_id: none",
		header: `{"alg":"RS256","kid":"JxyrXFIYTbTyTzl7U9t2-nWu7UfPoptJcvesNyRBeG0"}`,
		claims: `{"iss":"kubernetes/serviceaccount","kubernetes.io/serviceaccount/namespace":"shop","kubernetes.io/serviceaccount/secret.name":"a","sub":"system:serviceaccount:shop:a"}`,
		reason: token.ReasonExpiryMissing,
	},
	{
		name:   "SPIRE: a JWT-SVID without iss",
		entry:  "issuer: https://spire.example.com\naudiences: [orders]\ntyp: JWT\ntoken_id: none",
		header: `{"alg":"ES256","kid":"Q1","typ":"JWT"}`,
		claims: `{"aud":["orders"],"exp":1800000300,"iat":1800000000,"sub":"spiffe://example.com/web"}`,
		reason: token.ReasonIssuer,
	},
	{
		name:   "SPIRE: with jwt_issuer, without jti",
		entry:  "issuer: https://spire.example.com\naudiences: [orders]\ntyp: JWT\ntoken_id: none",
		header: `{"alg":"ES256","kid":"Q1","typ":"JWT"}`,
		claims: `{"aud":["orders"],"exp":1800000300,"iat":1800000000,"iss":"https://spire.example.com","sub":"spiffe://example.com/web"}`,
		who:    "sub=spiffe://example.com/web",
	},
	{
		name:   "SPIRE: without jti, where the entry does not say so",
		entry:  "issuer: https://spire.example.com\naudiences: [orders]\ntyp: JWT",
		header: `{"alg":"ES256","kid":"Q1","typ":"JWT"}`,
		claims: `{"aud":["orders"],"exp":1800000300,"iat":1800000000,"iss":"https://spire.example.com","sub":"spiffe://example.com/web"}`,
		reason: token.ReasonTokenID,
	},
	{
		name: "Auth0: its own profile",
		entry: `issuer: https://shop.eu.auth0.com/
audiences: [https://api.example.com/orders]
algorithms: [RS256]
typ: JWT
max_lifetime: 24h
token_id: none
claims: {client_id: azp, tenant: org_id, roles: [https://example.com/roles]}`,
		header: `{"alg":"RS256","typ":"JWT","kid":"NTVB"}`,
		claims: `{"https://example.com/roles":["admin"],"iss":"https://shop.eu.auth0.com/","sub":"auth0|5f7c","aud":["https://api.example.com/orders","https://shop.eu.auth0.com/userinfo"],"iat":1800000000,"exp":1800086400,"azp":"kbyu","org_id":"org_9y","scope":"openid read:orders"}`,
		who:    "sub=auth0|5f7c; client=kbyu; tenant=org_9y; scope=openid read:orders; roles=admin",
	},
	{
		name: "Okta: no typ, scp a list",
		entry: `issuer: https://shop.okta.com/oauth2/default
audiences: ["api://orders"]
algorithms: [RS256]
typ: none
required_claims: [cid, scp]
claims: {subject: uid, client_id: cid, scope: scp, roles: [groups]}`,
		header: `{"kid":"FHRi","alg":"RS256"}`,
		claims: `{"ver":1,"jti":"AT.0mP4","iss":"https://shop.okta.com/oauth2/default","aud":"api://orders","iat":1800000000,"exp":1800003600,"cid":"0oab","uid":"00uj","scp":["openid","orders.read"],"auth_time":1799999900,"sub":"a@example.com","groups":["Everyone"]}`,
		who:    "sub=00uj; id=AT.0mP4; client=0oab; scope=openid orders.read; roles=Everyone",
	},
	{
		name:   "Okta: a token for Okta itself",
		entry:  "issuer: https://shop.okta.com\naudiences: [https://shop.okta.com]\nalgorithms: [RS256]\ntyp: none",
		header: `{"kid":"FHRi","typ":"application/okta-internal-at+jwt","alg":"RS256"}`,
		claims: `{"ver":1,"jti":"AT.0mP4","iss":"https://shop.okta.com","aud":"https://shop.okta.com","sub":"a@example.com","iat":1800000000,"exp":1800003600,"cid":"0oab"}`,
		reason: token.ReasonTyp,
	},
	{
		name: "Cognito: client_id for aud, a version that is a number",
		entry: `issuer: https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC
audiences: [7esg]
algorithms: [RS256]
typ: none
required_claims: [token_use=access, version=2]
claims: {audience: client_id, session: origin_jti, roles: ["cognito:groups"]}`,
		header: `{"kid":"c3R1","alg":"RS256"}`,
		claims: `{"sub":"aaaa","cognito:groups":["admin"],"iss":"https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbC","version":2,"client_id":"7esg","origin_jti":"5b9f","event_id":"9f","token_use":"access","scope":"orders/read","auth_time":1799999995,"exp":1800003600,"iat":1800000000,"jti":"95f6","username":"a"}`,
		who:    "sub=aaaa; id=95f6; session=5b9f; client=7esg; scope=orders/read; roles=admin",
	},
	{
		name:   "oidc-provider: an access token",
		entry:  "issuer: https://op.example.com\naudiences: [orders]\nalgorithms: [RS256]",
		header: `{"alg":"RS256","typ":"at+jwt","kid":"d48d"}`,
		claims: `{"roles":["admin"],"sid":"sPnt","jti":"FA8N","sub":"alice","iat":1800000000,"exp":1800000600,"scope":"orders:read","client_id":"shop","iss":"https://op.example.com","aud":"orders"}`,
		who:    "sub=alice; id=FA8N; session=sPnt; client=shop; scope=orders:read; roles=admin",
	},
	{
		name:   "oidc-provider: an ID token, without typ",
		entry:  "issuer: https://op.example.com\naudiences: [shop]\nalgorithms: [RS256]",
		header: `{"alg":"RS256","kid":"d48d"}`,
		claims: `{"sub":"alice","sid":"sPnt","aud":"shop","exp":1800003600,"iat":1800000000,"iss":"https://op.example.com"}`,
		reason: token.ReasonTyp,
	},
	{
		name: "Flask-JWT-Extended: one secret, no kid", entry: flaskEntry, header: flaskHeader,
		claims: `{"fresh":true,"iat":1800000000,"type":"access",` + flaskBack,
		who:    "sub=alice; id=5149; roles=admin,user",
	},
	{
		name: "Flask-JWT-Extended: a refresh token", entry: flaskEntry, header: flaskHeader,
		claims: `{"fresh":false,"iat":1800000000,"type":"refresh",` + flaskBack,
		reason: token.ReasonClaimRequired,
	},
	{
		name: "Flask-JWT-Extended: its defaults, without iss", entry: flaskEntry, header: flaskHeader,
		claims: `{"fresh":true,"iat":1800000000,"jti":"5149","type":"access","sub":"alice","nbf":1800000000,"csrf":"2b","exp":1800000900}`,
		reason: token.ReasonIssuer,
	},
	{
		name:   "djangorestframework-simplejwt: user_id a number",
		entry:  flaskEntry + "\nclaims: {subject: user_id}",
		header: flaskHeader,
		claims: `{"token_type":"access","type":"access","exp":1800000300,"iat":1800000000,"jti":"s1","user_id":7,"aud":"orders","iss":"https://flask.example.com"}`,
		reason: token.ReasonSubject,
	},
	{
		name:   "dex: an ID token, which is its access token",
		entry:  "issuer: https://dex.example.com\naudiences: [orders]\nalgorithms: [RS256]\ntyp: none\nmax_lifetime: 24h\ntoken_id: none\nclaims: {client_id: azp, roles: [groups]}",
		header: `{"alg":"RS256","kid":"5b0e"}`,
		claims: `{"iss":"https://dex.example.com","sub":"CiQw","aud":"orders","exp":1800086400,"iat":1800000000,"at_hash":"x","email_verified":true,"groups":["admin","team one"],"name":"a"}`,
		who:    "sub=CiQw; roles=admin,team one",
	},
	{
		name: "FusionAuth: gty in the header", entry: plainEntry,
		header: `{"alg":"RS256","typ":"JWT","gty":["authorization_code"],"kid":"1e4"}`,
		claims: plainClaims, who: "sub=alice; id=j1",
	},
	{
		name: "Twilio: cty of its own", entry: plainEntry,
		header: `{"cty":"twilio-fpa;v=1","typ":"JWT","alg":"RS256","kid":"k1"}`,
		claims: plainClaims, who: "sub=alice; id=j1",
	},
	{
		name: "a token inside the token", entry: plainEntry,
		header: `{"alg":"RS256","kid":"k1","typ":"JWT","cty":"jwt"}`,
		claims: plainClaims, reason: token.ReasonHeaderEncrypted,
	},
	{
		name: "certificates in the header, which nobody looks at", entry: plainEntry,
		header: `{"alg":"RS256","kid":"k1","typ":"JWT","x5c":["MIIB"],"x5u":"http://127.0.0.1:9/","x5t":7,"x5t#S256":null,"jwk":{}}`,
		claims: plainClaims, who: "sub=alice; id=j1",
	},
	{
		name: "Casdoor: roles of objects, which the entry does not use", entry: plainEntry,
		header: `{"alg":"RS256","kid":"cert-built-in","typ":"JWT"}`,
		claims: plainFront + plainDates + `,"owner":"shop","roles":[{"owner":"shop","name":"admin"}],"permissions":[],"tokenType":"access-token","scope":"profile","azp":"web"}`,
		who:    "sub=alice; id=j1; scope=profile",
	},
	{
		name: "Casdoor: roles of objects, which the entry uses", entry: plainEntry + "\nclaims: {roles: [roles]}",
		header: `{"alg":"RS256","kid":"cert-built-in","typ":"JWT"}`,
		claims: plainFront + plainDates + `,"roles":[{"owner":"shop","name":"admin"}]}`,
		reason: token.ReasonClaimShape,
	},
	{
		name: "a tenant that is an object, which the entry does not use", entry: plainEntry,
		header: plainHeader, claims: plainFront + plainDates + `,"tenant":{"id":"acme"}}`,
		who: "sub=alice; id=j1",
	},
	{
		name: "a tenant that is an object, by its path", entry: plainEntry + "\nclaims: {tenant: /tenant/id}",
		header: plainHeader, claims: plainFront + plainDates + `,"tenant":{"id":"acme"}}`,
		who: "sub=alice; id=j1; tenant=acme",
	},
	{
		name: "a tenant that is an object, which the entry uses", entry: plainEntry + "\nclaims: {tenant: tenant}",
		header: plainHeader, claims: plainFront + plainDates + `,"tenant":{"id":"acme"}}`,
		reason: token.ReasonClaimShape,
	},
	{
		name: "claims that the entry says are none", header: plainHeader,
		entry:  plainEntry + "\nclaims: {session: none, client_id: none, tenant: none, scope: none, roles: [none]}",
		claims: plainFront + plainDates + `,"sid":7,"client_id":{},"tenant":[],"scope":1,"roles":{"admin":1}}`,
		who:    "sub=alice; id=j1",
	},
	{
		name: "WorkOS: no typ, no aud, one role as a text",
		entry: `issuer: https://api.workos.com
any_audience: true
algorithms: [RS256]
typ: none
claims: {tenant: org_id, roles: [role]}`,
		header: `{"alg":"RS256","kid":"sso_oidc_key_pair_01"}`,
		claims: `{"iss":"https://api.workos.com","sub":"user_01","sid":"session_01","jti":"01H","org_id":"org_01","role":"admin","permissions":["orders:read"],"exp":1800000300,"iat":1800000000}`,
		who:    "sub=user_01; id=01H; session=session_01; tenant=org_01; roles=admin",
	},
	{
		name: "Spring Authorization Server: no typ, scope a list",
		entry: `issuer: https://spring.example.com
audiences: [web]
algorithms: [RS256]
typ: none`,
		header: `{"kid":"9f2c","alg":"RS256"}`,
		claims: `{"sub":"user1","aud":"web","nbf":1800000000,"scope":["read"],"iss":"https://spring.example.com","exp":1800000300,"iat":1800000000,"jti":"b0c1"}`,
		who:    "sub=user1; id=b0c1; scope=read",
	},
	{
		name: "RFC 9864: Ed25519", header: `{"alg":"Ed25519","kid":"k1","typ":"JWT"}`,
		entry:  "issuer: https://issuer.example.com\naudiences: [orders]\nalgorithms: [EdDSA]\ntyp: JWT",
		claims: plainClaims, who: "sub=alice; id=j1",
	},
	{
		name: "RFC 9864: EdDSA, where the entry says Ed25519", header: `{"alg":"EdDSA","kid":"k1","typ":"JWT"}`,
		entry:  "issuer: https://issuer.example.com\naudiences: [orders]\nalgorithms: [Ed25519]\ntyp: JWT",
		claims: plainClaims, who: "sub=alice; id=j1",
	},
	{
		name: "RFC 9864: Ed25519, where the entry says another", header: `{"alg":"Ed25519","kid":"k1","typ":"JWT"}`,
		entry: plainEntry, claims: plainClaims, reason: token.ReasonAlg,
	},
	{
		name: "a header with escapes, tabs and line breaks", entry: plainEntry,
		header: "\t{\r\n \"\\u0061lg\" : \"RS\\u003256\",\n\t\"typ\":\"J\\u0057T\" , \"kid\":\"k\\/1\"\n}\n",
		claims: "\n" + plainClaims + "\n", who: "sub=alice; id=j1",
	},
	{
		name: "alg twice, once with an escape", entry: plainEntry,
		header: `{"alg":"RS256","kid":"k1","typ":"JWT","\u0061lg":"RS256"}`,
		claims: plainClaims, reason: token.ReasonHeaderDuplicate,
	},
	{
		name:   "names that mean something only where something is encrypted",
		entry:  plainEntry,
		header: `{"alg":"RS256","kid":"k1","typ":"JWT","iv":"x","tag":7,"epk":{},"apu":"a","apv":"b"}`,
		claims: plainClaims, who: "sub=alice; id=j1",
	},
	{
		name: "a name that is not known twice", entry: plainEntry,
		header: `{"alg":"RS256","kid":"k1","typ":"JWT","cat":1,"cat":2}`,
		claims: plainClaims, reason: token.ReasonHeaderDuplicate,
	},
	{
		name: "crit beside a name that is not known", entry: plainEntry,
		header: `{"cat":"x","crit":["cat"],"alg" : "RS256","kid":"k1","typ":"JWT"}`,
		claims: plainClaims, reason: token.ReasonHeaderCrit,
	},
	{
		name: "b64 with blanks", entry: plainEntry,
		header: `{ "b64" : true, "alg":"RS256","kid":"k1","typ":"JWT"}`,
		claims: plainClaims, reason: token.ReasonHeaderCrit,
	},
	{
		name: "zip with blanks", entry: plainEntry,
		header: `{ "zip" : "DEF", "alg":"RS256","kid":"k1","typ":"JWT"}`,
		claims: plainClaims, reason: token.ReasonHeaderEncrypted,
	},
	{
		name: "a header and more behind it", entry: plainEntry,
		header: plainHeader + ` {"alg":"RS256"}`, claims: plainClaims, reason: token.ReasonHeader,
	},
	{
		name: "typ with a parameter", entry: plainEntry,
		header: `{"alg":"RS256","kid":"k1","typ":"JWT;charset=utf-8"}`,
		claims: plainClaims, reason: token.ReasonTyp,
	},
}
