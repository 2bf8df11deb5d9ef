"""Heat and power, read from small trees like those of the kernel."""

from pathlib import Path

import pytest

from agent.ops.board import MOST, SYS, power_w, temperatures_c

ORIN = {
    "class/thermal/thermal_zone0/type": "cpu-thermal",
    "class/thermal/thermal_zone0/temp": "48343",
    "class/thermal/thermal_zone1/type": "gpu-thermal",
    "class/thermal/thermal_zone1/temp": "45125",
    "class/thermal/thermal_zone2/type": "cv0-thermal",
    "class/thermal/thermal_zone2/temp": "-256000",
    "class/thermal/thermal_zone10/type": "tj-thermal",
    "class/thermal/thermal_zone10/temp": "48343",
    "class/hwmon/hwmon0/name": "pwmfan",
    "class/hwmon/hwmon3/name": "ina3221",
    "class/hwmon/hwmon3/in1_label": "VDD_IN",
    "class/hwmon/hwmon3/in1_input": "4984",
    "class/hwmon/hwmon3/curr1_input": "1240",
    "class/hwmon/hwmon3/in2_label": "VDD_CPU_GPU_CV",
    "class/hwmon/hwmon3/in2_input": "4976",
    "class/hwmon/hwmon3/curr2_input": "280",
    "class/hwmon/hwmon3/in7_label": "sum of shunt voltages",
    "class/hwmon/hwmon3/curr4_input": "3000",
}


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


def test_a_jetson_tells_its_zones_and_the_power_of_its_rails(tmp_path: Path) -> None:
    sys = tree(tmp_path, ORIN)
    assert temperatures_c(sys) == {"cpu-thermal": 48.3, "gpu-thermal": 45.1, "tj-thermal": 48.3}
    assert power_w(sys) == {"VDD_IN": 6.18, "VDD_CPU_GPU_CV": 1.393}


def test_a_workstation_with_a_power_meter_tells_it(tmp_path: Path) -> None:
    files = {"class/hwmon/hwmon1/name": "amdgpu", "class/hwmon/hwmon1/power1_input": "9012000"}
    assert power_w(tree(tmp_path, files)) == {"amdgpu": 9.012}
    files["class/hwmon/hwmon1/power1_label"] = "PPT"
    assert power_w(tree(tmp_path, files)) == {"PPT": 9.012}


def test_zones_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for zone in range(3):
        tree(
            tmp_path,
            {f"class/thermal/thermal_zone{zone}/type": "acpitz", f"class/thermal/thermal_zone{zone}/temp": "2"},
        )
    assert list(temperatures_c(tmp_path)) == ["acpitz", "acpitz-2", "acpitz-3"]


@pytest.mark.parametrize("content", ["", "N/A", "1e3", "9" * 30, "\0\1", "12 13"])
def test_a_sensor_that_talks_nonsense_is_left_out(tmp_path: Path, content: str) -> None:
    tree(tmp_path, {"class/thermal/thermal_zone0/type": "odd\nname", "class/thermal/thermal_zone0/temp": content})
    assert temperatures_c(tmp_path) == {}


def test_names_hold_only_what_a_label_can_hold(tmp_path: Path) -> None:
    tree(tmp_path, {"class/thermal/thermal_zone0/type": 'a "b"\n#c', "class/thermal/thermal_zone0/temp": "20000"})
    assert temperatures_c(tmp_path) == {"a__b___c": 20.0}


def test_a_machine_with_very_many_zones_tells_the_first(tmp_path: Path) -> None:
    for zone in range(MOST + 5):
        tree(tmp_path, {f"class/thermal/thermal_zone{zone}/temp": "20000"})
    assert list(temperatures_c(tmp_path)) == [f"thermal_zone{zone}" for zone in range(MOST)]


def test_where_nothing_is_told_nothing_is_said(tmp_path: Path) -> None:
    assert (temperatures_c(tmp_path), power_w(tmp_path)) == ({}, {})


def test_this_machine_can_be_asked() -> None:
    assert all(isinstance(value, float) for value in {**temperatures_c(SYS), **power_w(SYS)}.values())
