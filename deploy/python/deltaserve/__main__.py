"""The command `deltaserve`: becomes the program that the package contains."""

import os
import ssl
import sys

from deltaserve._program import program

# The program's TLS library looks in Debian's place by itself, which other systems do not have.
DEBIAN_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def environment() -> dict:
    """The process's environment, and in it where this system keeps the certificates that it trusts."""
    variables = dict(os.environ)
    named = any(variables.get(name) for name in ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"))
    system = ssl.get_default_verify_paths().cafile
    if not named and system and not os.path.exists(DEBIAN_CERTIFICATES):
        variables["SSL_CERT_FILE"] = system
    return variables


def main() -> None:
    path = program()
    os.execve(path, ["deltaserve", *sys.argv[1:]], environment())


if __name__ == "__main__":
    main()
