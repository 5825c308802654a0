"""Verifies the JWT of a save link for Google Wallet with two libraries that nobody here wrote: PyJWT and google-auth.

Standard input: {"jwt": …, "account": the service account's key file}. Prints the header and the claims as JSON.
"""

import json
import sys

import jwt
from cryptography.hazmat.primitives import serialization
from google.auth import crypt

given = json.load(sys.stdin)
account, token = given["account"], given["jwt"]
private = serialization.load_pem_private_key(account["private_key"].encode(), password=None)
public = private.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
claims = jwt.decode(
    token, public, algorithms=["RS256"], audience="google", issuer=account["client_email"], options={"verify_iat": False}
)
message, signature = token.rsplit(".", 1)
verifier = crypt.RSAVerifier.from_string(public)
assert verifier.verify(message.encode(), jwt.utils.base64url_decode(signature)), "google-auth refuses the signature"
json.dump({"header": jwt.get_unverified_header(token), "claims": claims}, sys.stdout)
