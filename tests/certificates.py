"""Certificates for a broker and its clients."""

import subprocess
from pathlib import Path


def certificates_in(folder: Path) -> Path:
    """The folder, with two authorities, `ours` and `theirs`, and from ours a pair for a broker and one for an agent."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ours", "theirs"):
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    for name in ("broker", "agent"):
        openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
        )
        openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ours.crt", "-CAkey", "ours.key", "-CAcreateserial"),
            *("-days", "2", "-extfile", "names", "-out", f"{name}.crt"),
        )
    return folder


def tls_lines(certificates: Path) -> list[str]:
    """What a mosquitto that speaks TLS is told."""
    return [
        f"cafile {certificates / 'ours.crt'}",
        f"certfile {certificates / 'broker.crt'}",
        f"keyfile {certificates / 'broker.key'}",
    ]
