"""What the command `picture/get` answers: kept pictures, as many as fit into one message."""

import base64
from collections.abc import Callable
from contextlib import suppress

from pydantic_core import to_json

from agent.pictures.cutting import KeptPicture, annotated
from agent.pictures.store import PictureStore
from common.errors import PictureError
from contract.requests import GetPictures, PicturePiece, Pictures

_ENVELOPE_BYTES, _PIECE_BYTES = 2048, 400
"""What an answer, and a picture in it, take beside the picture's bytes: topic, names, numbers."""
_LEAST_BYTES = 384
"""Of a piece: an answer that is too large all the same is replaced on its way by an error."""
_OFF = "this agent keeps no pictures: set pictures.keep in its settings"


class PictureAnswers:
    """Hands out what a store holds.

    Args:
        store: where the pictures are; None: none are kept.
        largest: tells the bytes of the longest packet that the broker takes.
    """

    def __init__(self, store: PictureStore | None, *, largest: Callable[[], int]) -> None:
        self._store, self._largest = store, largest

    def give(self, request: GetPictures) -> Pictures:
        """Carry out the command: whole pictures as long as there is room, and a piece only of the first.

        Raises:
            PictureError: no pictures are kept, or they can not be read.
        """
        room, answer = self._room(request), Pictures(pictures=[])
        for place, name in enumerate(request.ids):
            offset = request.offset if place == 0 else 0
            picture = self._found(request, name)
            if picture is None:
                answer.missing.append(name)
                continue
            end = min(len(picture.data), offset + max(0, room))
            whole = end == len(picture.data)
            if not whole and answer.pictures:
                answer.left.extend(request.ids[place:])
                break
            answer.pictures.append(_piece(picture, offset, end))
            if not whole:
                answer.left.extend(request.ids[place:])
                break
            room -= max(0, end - offset) + _PIECE_BYTES
        return answer

    def _room(self, request: GetPictures) -> int:
        """Bytes of pictures in one answer; in base64 three become four characters."""
        names = sum(len(to_json(name)) + 1 for name in request.ids)
        packet = self._largest() - _ENVELOPE_BYTES - _PIECE_BYTES - names
        return max(_LEAST_BYTES, min(request.max_kb * 1024, packet) // 4 * 3)

    def _found(self, request: GetPictures, name: str) -> KeptPicture | None:
        if self._store is None:
            raise PictureError(_OFF)
        picture = self._store.get(request.kind, name)
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
