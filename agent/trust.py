"""Which model may run on this machine."""

from agent.settings import Settings
from contract.bundle import Bundle, open_bundle
from contract.signature import Trust


def open_trusted(settings: Settings) -> Bundle:
    """Open the bundle of the settings, by the trust of the settings.

    Raises:
        UsageError: a name in `trust.keys` is no key.
        BundleMissing: there is no bundle.
        IntegrityError: it is not one that these settings trust, or it was changed.
    """
    return open_bundle(settings.bundle, Trust.of(settings.trust.keys, allow_unsigned=settings.trust.allow_unsigned))


def format_signer(bundle: Bundle) -> str:
    """Who vouches for a bundle, and whether INT8 was gated, in words."""
    signed = f"signed by key {bundle.signed_by}" if bundle.signed_by else "NOT SIGNED, allowed by trust.allow_unsigned"
    return signed if bundle.manifest.gate.state == "passed" else f"{signed}, accuracy gate SKIPPED at export"
