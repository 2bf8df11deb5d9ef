"""Bundles of a laboratory: the shipped model under the laboratory's name, signed by its key."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract.bundle import GOLDEN, SHIPPED, Golden, open_bundle, write_bundle, write_golden
from contract.signature import public_half

KEY = Ed25519PrivateKey.from_private_bytes(bytes([5]) * 32)
PUBLIC = public_half(KEY).hex()


def write_version(target: Path, version: int, *, gated: bool = True, truthful: bool = True) -> Path:
    """The shipped model as a version of `lab`.

    Args:
        target: the bundle.
        version: of it.
        gated: its gate passed; False: it was skipped.
        truthful: it scores as its golden batch says.
    """
    shipped = open_bundle(SHIPPED)
    files = {name: SHIPPED / name for name in shipped.manifest.files}
    if not truthful:
        golden, files[GOLDEN] = shipped.golden, target.with_name(f"{target.name}-{GOLDEN}")
        write_golden(files[GOLDEN], Golden(golden.crops, golden.batch, {k: v + 9 for k, v in golden.scores.items()}))
    gate = shipped.manifest.gate.model_copy(update={"state": "passed" if gated else "skipped"})
    own = {"id": f"lab-{version}", "model": "lab", "version": version, "gate": gate}
    return write_bundle(target, shipped.manifest.model_copy(update=own), files, key=KEY).path
