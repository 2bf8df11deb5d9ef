"""Who a report says has sent it: consumers believe a report only on the topics of the agent that it names."""

from pydantic import ValidationError
from pydantic_core import to_json

from contract.messages import FrameReport


class Sender:
    """One agent's name on its reports; what waited in the outbox while its name changed goes out under the new one."""

    def __init__(self, *, site: str, device: str) -> None:
        self._name = {"site": site, "device": device}
        self._written = b'"device":' + to_json(device) + b',"site":' + to_json(site) + b","

    def sign(self, body: bytes) -> bytes:
        """The report in this agent's name."""
        if self._written in body[: len(self._written) + 64]:  # it stands at the beginning
            return body
        try:
            report = FrameReport.model_validate_json(body)
        except ValidationError:  # damaged within; a consumer keeps it in quarantine
            return body
        return report.model_copy(update=self._name).model_dump_json().encode()


def named(body: bytes) -> str:
    """What people know a report by: its number, and the picture that it speaks of."""
    try:
        report = FrameReport.model_validate_json(body)
    except ValidationError:
        return "a damaged report"
    return f"report {report.seq} ({report.frame.source})"
