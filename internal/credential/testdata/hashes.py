"""Makes a password's hashes by the libraries that other systems use: one JSON object a line, with the kind, the hash and
how it was made, cheaper than by default. `make test-tools` installs them (deploy/setup/hashes.txt)."""

import json
import sys

import bcrypt
from django.conf import settings

settings.configure(USE_I18N=False)

from django.contrib.auth import hashers as django  # noqa: E402  settings come first
from passlib import hash as passlib  # noqa: E402
from werkzeug.security import generate_password_hash as werkzeug  # noqa: E402

password = sys.argv[1]
raw = bcrypt.hashpw(password.encode()[:72], bcrypt.gensalt(5)).decode()

made = {
    "Werkzeug scrypt": werkzeug(password, "scrypt:1024:8:1"),
    "Werkzeug pbkdf2 sha256": werkzeug(password, "pbkdf2:sha256:20000"),
    "Werkzeug pbkdf2 sha1": werkzeug(password, "pbkdf2:sha1:2000"),
    "Werkzeug pbkdf2 sha512": werkzeug(password, "pbkdf2:sha512:2000", salt_length=8),
    "Django pbkdf2_sha256": django.PBKDF2PasswordHasher().encode(password, "saltSALTsaltSALTsalt22", 20000),
    "Django pbkdf2_sha1": django.PBKDF2SHA1PasswordHasher().encode(password, "saltSALT", 5000),
    "Django argon2": django.Argon2PasswordHasher().encode(password, "saltSALTsaltSALTsalt22"),
    "Django bcrypt_sha256": django.BCryptSHA256PasswordHasher().encode(password, bcrypt.gensalt(5)),
    "Django bcrypt": django.BCryptPasswordHasher().encode(password[:72], bcrypt.gensalt(5)),
    "Django scrypt": django.ScryptPasswordHasher().encode(password, "saltSALTsaltSALTsalt22", 1024),
    "passlib pbkdf2_sha1": passlib.pbkdf2_sha1.using(rounds=2000).hash(password),
    "passlib pbkdf2_sha256": passlib.pbkdf2_sha256.using(rounds=2000).hash(password),
    "passlib pbkdf2_sha512": passlib.pbkdf2_sha512.using(rounds=2000).hash(password),
    "passlib scrypt": passlib.scrypt.using(rounds=10).hash(password),
    "passlib argon2": passlib.argon2.using(type="ID", memory_cost=8192, rounds=2).hash(password),
    "passlib {SSHA}": passlib.ldap_salted_sha1.hash(password),
    "passlib {SSHA256}": passlib.ldap_salted_sha256.hash(password),
    "passlib {SSHA512}": passlib.ldap_salted_sha512.hash(password),
    "bcrypt": raw,
    "OpenLDAP {BCRYPT}": "{BCRYPT}" + raw,
    "Spring {bcrypt}": "{bcrypt}" + raw.replace("$2b$", "$2a$"),
    "LDAP {CRYPT}": "{CRYPT}" + raw,
}
for kind, encoded in made.items():
    print(json.dumps({"kind": kind, "hash": encoded}))
