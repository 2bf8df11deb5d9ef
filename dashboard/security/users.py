"""Who may sign in: a file of names, roles and hashes of passwords (Argon2id, RFC 9106).

The file is read at each request that changed it, so that somebody who is removed is out at once.
"""

import json
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from common.durable import PRIVATE, write_whole
from common.errors import UsageError
from dashboard.security.roles import Role

NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
LEAST_PASSWORD, LONGEST_PASSWORD = 10, 1024
"""Characters. NIST SP 800-63B asks for 8 or more and for no rules of composition."""
FILE = "users.json"
_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash(secrets.token_hex(16))
"""Verified where there is no such name, so that the time of an answer tells no name."""


class User(BaseModel):
    """A person.

    Attributes:
        hash: of the password, with its salt and costs.
        since: when the password was set: sessions from before it are over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    hash: Annotated[str, Field(min_length=1)]
    since: datetime


_FORM = TypeAdapter(dict[str, User])


class Users:
    """The people of one file; any thread may ask."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[tuple[int, int] | None, Mapping[str, User]] = (None, {})

    def everybody(self) -> Mapping[str, User]:
        """All people by name.

        Raises:
            UsageError: the file can not be read; it names the remedy.
        """
        try:
            status = self.path.stat()
            stamp = status.st_mtime_ns, status.st_ino
            if stamp != self._read[0]:
                self._read = stamp, _FORM.validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as cause:
            said = cause.strerror if isinstance(cause, OSError) else "it has another form"
            raise UsageError(
                f"the file of users {self.path} can not be read ({said}); put its back-up in its place, or remove it "
                "and add everybody again"
            ) from cause
        return self._read[1]

    def find(self, name: str) -> User | None:
        """A person; None if there is none of that name."""
        return self.everybody().get(name)

    def knows(self, name: str, password: str) -> bool:
        """Whether name and password belong together; takes as long where there is no such name."""
        user = self.find(name)
        try:
            right = _HASHER.verify(user.hash if user else _NOBODY, password[:LONGEST_PASSWORD])
        except (VerificationError, InvalidHashError):
            return False
        return right and user is not None

    def add(self, name: str, password: str, role: Role) -> None:
        """Add a person, or give one another password and role.

        Raises:
            UsageError: the name or the password does not fit, or the file can not be written.
        """
        if not NAME.fullmatch(name):
            raise UsageError(f"{name[:80]!r} is no name: 1 to 64 letters, digits and . _ - @")
        if not LEAST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise UsageError(
                f"a password has {LEAST_PASSWORD} to {LONGEST_PASSWORD} characters; a sentence is a good one"
            )
        user = User(role=role, hash=_HASHER.hash(password), since=datetime.now(timezone.utc))
        self._write({**self.everybody(), name: user})

    def remove(self, name: str) -> None:
        """Remove a person; UsageError if there is none of that name, or the file can not be written."""
        left = dict(self.everybody())
        if left.pop(name, None) is None:
            raise UsageError(f"there is no user {name[:80]!r}; `microscope-dashboard user list` shows who is")
        self._write(left)

    def _write(self, people: Mapping[str, User]) -> None:
        text = json.dumps({name: user.model_dump(mode="json") for name, user in sorted(people.items())}, indent=1)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self.path, text.encode(), mode=PRIVATE)
        except OSError as cause:
            raise UsageError(f"the file of users {self.path} can not be written ({cause.strerror})") from cause
