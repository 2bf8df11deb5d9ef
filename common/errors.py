"""The exceptions that reach a user, and the exit code of each.

MicroscopeError
├── CheckError        1  a check that the user asked for has failed
├── UsageError        2  an argument or a setting is wrong
├── GateError         3  a model is not as accurate as it must be, or no compiler takes it
├── MissingError      4  something that should be there is not
│   ├── EngineError        an inference runtime
│   ├── SourceError        a camera, a video or a folder of images
│   ├── BundleMissing      the folder that holds the model
│   ├── BrokerError        the MQTT broker
│   └── StoreError         the collector's database
├── IntegrityError    5  a file is not what it was when it was made
├── PictureError      1  the store of pictures can not take or give one; reports go on without
├── AuditError        1  the audit log can not be opened, read or written
└── OutboxError       1  the store of unsent reports can not take or keep one
    └── OutboxFull

Every text names the thing, the cause and the remedy; the cause is kept with ``from``.
"""

from typing import ClassVar


class MicroscopeError(Exception):
    """Any failure that we expect and can explain; raise one of its children."""

    exit_code: ClassVar[int] = 1


class CheckError(MicroscopeError):
    """A check that the user asked for has failed (``doctor``)."""


class UsageError(MicroscopeError):
    """An argument or a setting is wrong; nothing has been done."""

    exit_code = 2


class GateError(MicroscopeError):
    """A model was refused: it is not as accurate as it must be, or NVIDIA's compiler does not take its graphs."""

    exit_code = 3


class MissingError(MicroscopeError):
    """A component that the work needs is not there."""

    exit_code = 4


class EngineError(MissingError):
    """An inference runtime can not be loaded, or failed at its work."""


class SourceError(MissingError):
    """A camera, a video or a folder can not be opened, or stopped delivering."""


class BundleMissing(MissingError):  # noqa: N818 - reads as what happened
    """There is no bundle at that place; a damaged one is an IntegrityError."""


class BrokerError(MissingError):
    """The MQTT broker can not be reached, or refuses us."""


class StoreError(MissingError):
    """The collector's database can not be reached, read or written; nothing was stored, and it may be tried again."""


class IntegrityError(MicroscopeError):
    """A file is not what it was when it was made: hash, schema or golden batch differ."""

    exit_code = 5


class AuditError(MicroscopeError):
    """The audit log can not be opened, read or written; what it should have noted is not there."""


class PictureError(MicroscopeError):
    """The agent's store of pictures can not be opened, read or written, or none is kept; reports go on without."""


class OutboxError(MicroscopeError):
    """The store of unsent reports can not be opened, read or written."""


class OutboxFull(OutboxError):  # noqa: N818 - reads as what happened
    """The outbox has reached its bound; what it holds is kept, the new report is not."""
