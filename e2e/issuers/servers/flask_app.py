"""Flask-JWT-Extended as its documentation has it, and a bare PyJWT beside it, as two issuers of one process.

usage: flask_app.py PORT SECRET_FILE
"""

import json
import sys
import time
import uuid

import flask
import flask_jwt_extended as fje
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

port, secret_file = int(sys.argv[1]), sys.argv[2]
base = f"http://127.0.0.1:{port}"
roles = {"alice": ["admin", "user"]}

app = flask.Flask(__name__)
# Not the defaults: a token that names neither issuer nor audience belongs to nobody.
app.config["JWT_ENCODE_ISSUER"] = app.config["JWT_DECODE_ISSUER"] = base + "/flask"
app.config["JWT_ENCODE_AUDIENCE"] = app.config["JWT_DECODE_AUDIENCE"] = "orders"
app.config["JWT_SECRET_KEY"] = open(secret_file).read().strip()
fje.JWTManager(app)


@app.post("/flask/login")
def login():
    user = flask.request.json["user"]
    extra = {"roles": roles.get(user, ["user"])}
    return {
        "access_token": fje.create_access_token(user, fresh=True, additional_claims=extra),
        "refresh_token": fje.create_refresh_token(user, additional_claims=extra),
        "elsewhere": fje.create_access_token(user, additional_claims=extra | {"aud": "billing"}),
        "minimal": fje.create_access_token(user),
    }


@app.post("/flask/refresh")
@fje.jwt_required(refresh=True)
def refresh():
    return {"access_token": fje.create_access_token(fje.get_jwt_identity(), fresh=False)}


@app.get("/flask/me")
@fje.jwt_required()
def me():
    return {"user": fje.get_jwt_identity()}


@app.post("/flask/rotate")
def rotate_secret():
    app.config["JWT_SECRET_KEY"] = open(secret_file).read().strip()
    return {}


# What PyJWT signs with: the newest key of each algorithm is used, all are published.
keys = {}


@app.post("/pyjwt/rotate")
def rotate_keys():
    for algorithm, private in {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }.items():
        keys.setdefault(algorithm, []).append((str(uuid.uuid4()), private))
    return {}


@app.get("/pyjwt/jwks.json")
def jwks():
    published = []
    for algorithm, of in keys.items():
        for kid, private in of:
            key = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
            published.append(key | {"kid": kid, "alg": algorithm, "use": "sig"})
    return {"keys": published}


@app.post("/pyjwt/token")
def token():
    asked = flask.request.json
    now = int(time.time())
    claims = {
        "iss": base + "/pyjwt", "sub": asked["user"], "aud": asked.get("audience", "orders"), "iat": now, "exp": now + 900,
        "jti": str(uuid.uuid4()), "sid": asked.get("session") or str(uuid.uuid4()), "client_id": asked.get("client", "shop"),
        "roles": roles.get(asked["user"], ["user"]),
    }
    algorithm = asked.get("algorithm", "ES256")
    kid, private = keys[algorithm][-1]
    headers = {"kid": kid} | asked.get("headers", {})
    return {"access_token": jwt.encode(claims | asked.get("claims", {}), private, algorithm=algorithm, headers=headers)}


if __name__ == "__main__":
    rotate_keys()
    app.run("127.0.0.1", port)
