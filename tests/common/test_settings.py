"""What all programs' settings have in common, on a program of two settings."""

import os
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from common.errors import UsageError
from common.settings import Form, Tree, kinds_of, layer_of, layers_of, merged, paths_of, settled
from mqttlink.settings import Section


class _Door(Section):
    width_mm: int = Field(900, le=2000)
    secret_knock: int = 3


class _House(Section):
    door: _Door = _Door()


def _variables() -> Tree:
    width = os.environ.get("HOUSE_DOOR__WIDTH_MM")
    return {"door": {"width_mm": width}} if width else {}


FORM = Form(_House, "HOUSE_", _variables, secrets=("secret",))


def test_the_first_layer_is_the_strongest_and_none_is_written_on() -> None:
    layers = (layer_of({"door.width_mm": "1"}, "a"), layer_of({"door.width_mm": "2", "door.secret_knock": "4"}, "b"))
    assert settled(FORM, layers).door == _Door(width_mm=1, secret_knock=4)
    assert merged(layers[1:]) == {"door": {"width_mm": "2", "secret_knock": "4"}}


def test_a_fault_names_its_place_and_its_value_but_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSE_DOOR__WIDTH_MM", "9999")
    layers = layers_of(FORM, None, {"door.secret_knock": "swordfish"})
    with pytest.raises(UsageError, match=r"width_mm \(environment\): .*'9999'; .*knock \(command line\)") as refused:
        settled(FORM, layers)
    assert "swordfish" not in str(refused.value)


def test_a_setting_that_is_a_path_by_one_choice_and_text_by_another_is_no_path() -> None:
    class File(Section):
        where: Path
        cover: Annotated[Path, Field(description="of paper")] | None = None

    class Address(Section):
        where: str
        pages: tuple[Path, ...] = ()

    class Book(Section):
        read: File | Address

    assert paths_of(Book) == {"read.cover"}


def test_the_members_of_a_union_are_its_kinds_and_no_fault_lists_others() -> None:
    class Wooden(Section):
        kind: Literal["wooden"] = "wooden"
        tree: str

    class Steel(Section):
        kind: Literal["steel", "iron"] = "steel"

    class Gate(Section):
        leaf: Wooden | Steel = Field(discriminator="kind")

    form = Form(Gate, "GATE_", dict)
    assert kinds_of(Gate) == {"leaf.kind": ("wooden", "steel", "iron")}
    with pytest.raises(UsageError, match=r"leaf\.tree .*set leaf\.kind too \(wooden, steel, iron\)$"):
        settled(form, [layer_of({"leaf.kind": "iron", "leaf.tree": "oak"}, "a")])
    with pytest.raises(UsageError, match=r"the setting leaf\.tree is given nowhere"):
        settled(form, [layer_of({"leaf.kind": "wooden"}, "a")])


def test_a_setting_that_is_named_as_its_kind_is_told_by_its_whole_name() -> None:
    class Wooden(Section):
        kind: Literal["wooden"] = "wooden"
        wooden: int

    class Steel(Section):
        kind: Literal["steel"] = "steel"

    class Gate(Section):
        leaf: Wooden | Steel = Field(discriminator="kind")

    with pytest.raises(UsageError, match=r"the setting leaf\.wooden is given nowhere"):
        settled(Form(Gate, "GATE_", dict), [layer_of({"leaf.kind": "wooden"}, "a")])


def test_a_variable_of_the_prefix_that_is_no_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOUSE_DOOR__WIDHT_MM", "1")
    with pytest.raises(UsageError, match=r"'door\.widht_mm' \(environment\); the nearest is 'door\.width_mm'"):
        layers_of(FORM, None, {})
