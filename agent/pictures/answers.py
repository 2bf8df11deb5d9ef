"""What the command `picture/get` answers: kept pictures, as many as fit into one message."""

import base64
from collections.abc import Callable
from contextlib import suppress

from pydantic_core import to_json

from agent.pictures.cutting import KeptPicture, annotated
from agent.pictures.keeper import PictureKeeper
from common.errors import PictureError
from contract.requests import GetPictures, PicturePiece, Pictures

_ENVELOPE_BYTES, _PIECE_BYTES = 2048, 400
"""What an answer, and a picture in it, take beside the picture's bytes: topic, names, numbers."""
_LEAST_BYTES = 384
"""Of a piece: an answer that is too large all the same is replaced on its way by an error."""
_OFF = "this agent keeps no pictures: set pictures.keep in its settings"


class PictureAnswers:
    """Hands out what a keeper has kept.

    Args:
        keeper: who keeps pictures; None: nobody does.
        largest: tells the bytes of the longest packet that the broker takes.
    """

    def __init__(self, keeper: PictureKeeper | None, *, largest: Callable[[], int]) -> None:
        self._keeper, self._largest = keeper, largest

    def give(self, request: GetPictures) -> Pictures:
        """Carry out the command: whole pictures as long as there is room, and a piece only of the first.

        Raises:
            PictureError: no pictures are kept, or they can not be read.
        """
        if self._keeper is None:
            raise PictureError(_OFF)
        room, answer = self._room(request), Pictures(pictures=[])
        awaited: list[str] = []
        for place, name in enumerate(request.ids):
            offset = request.offset if place == 0 else 0
            comes = self._keeper.awaits(name)  # asked first: in between it may have come
            picture = self._found(self._keeper, request, name)
            if picture is None:
                (awaited if comes else answer.missing).append(name)
                continue
            end = min(len(picture.data), offset + max(0, room))
            whole = end == len(picture.data)
            if whole or not answer.pictures:
                answer.pictures.append(_piece(picture, offset, end))
            if not whole:
                answer.left.extend(request.ids[place:])
                break
            room -= max(0, end - offset) + _PIECE_BYTES
        answer.left.extend(awaited)
        return answer

    def _room(self, request: GetPictures) -> int:
        """Bytes of pictures in one answer; in base64 three become four characters."""
        names = sum(len(to_json(name)) + 1 for name in request.ids)
        packet = self._largest() - _ENVELOPE_BYTES - _PIECE_BYTES - names
        return max(_LEAST_BYTES, min(request.max_kb * 1024, packet) // 4 * 3)

    @staticmethod
    def _found(keeper: PictureKeeper, request: GetPictures, name: str) -> KeptPicture | None:
        picture = keeper.store.get(request.kind, name)
        if picture is None or not request.annotated or request.kind != "frame":
            return picture
        with suppress(ValueError):
            return annotated(picture)
        return None  # what was said of it can not be read


def _piece(picture: KeptPicture, offset: int, end: int) -> PicturePiece:
    data = picture.data[offset:end]
    return PicturePiece(
        **picture.info.model_dump(),
        id=picture.id,
        offset=min(offset, len(picture.data)),
        total_bytes=len(picture.data),
        data_base64=base64.b64encode(data).decode("ascii"),
    )
