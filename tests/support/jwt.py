"""JSON Web Tokens: what they say, and whether openssl(1) finds their signature right."""

import base64
import hashlib
import json
import pathlib
import re
import subprocess
import tempfile


def b64url(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).decode().rstrip("=")


def jwt_claims(token):
    """The claims of a JWT, its signature not looked at."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def jwt_header(token):
    part = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def thumbprint(certificate):
    text = re.search(r"BEGIN CERTIFICATE-----(.*?)-----END", pathlib.Path(certificate).read_text(), re.S)[1]
    return b64url(hashlib.sha256(base64.b64decode("".join(text.split()))).digest())


def signature_is_right(jwt, pem, algorithm):
    """Whether openssl(1) finds the signature of a JWT right by the key or certificate of a PEM file."""
    parts = jwt.split(".")
    if len(parts) != 3 or jwt_header(jwt).get("alg") != algorithm:
        return False
    kind = ["x509", "-pubkey", "-noout"] if "CERTIFICATE" in pathlib.Path(pem).read_text() else ["pkey", "-pubout"]
    pss = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"] if algorithm == "PS256" else []
    with tempfile.TemporaryDirectory() as work:
        signature, public = pathlib.Path(work, "signature"), pathlib.Path(work, "public.pem")
        signature.write_bytes(base64.urlsafe_b64decode(parts[2] + "=" * (-len(parts[2]) % 4)))
        public.write_bytes(subprocess.run(["openssl", *kind, "-in", str(pem)], check=True, capture_output=True).stdout)
        done = subprocess.run(["openssl", "dgst", "-sha256", *pss, "-verify", str(public), "-signature", str(signature)],
                              input=f"{parts[0]}.{parts[1]}".encode(), capture_output=True)
    return done.returncode == 0
