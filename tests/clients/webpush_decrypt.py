"""Decrypts a Web Push body with http_ece, an implementation that nobody here wrote.

Arguments: PRIVATE_KEY AUTH_SECRET BODY, all in Base64 for URLs. Prints the plaintext.
"""

import base64
import sys

import http_ece
from cryptography.hazmat.primitives.asymmetric import ec


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


private_key, auth_secret, body = [decode(text) for text in sys.argv[1:]]
key = ec.derive_private_key(int.from_bytes(private_key, "big"), ec.SECP256R1())
plain = http_ece.decrypt(body, private_key=key, auth_secret=auth_secret, version="aes128gcm")
sys.stdout.buffer.write(plain)
