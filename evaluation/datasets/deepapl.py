"""DeepAPL: white cells of patients with acute myeloid or promyelocytic leukaemia (Sidhom et al. 2021).

``Data/All/Patient_NN/.../Signed slides/<class>/*.jpg`` and ``Data/Clinical_Case/cc/Signed slides/<class>/*.jpg``.
Patients from 80 on and the clinical case are the test; of the others every sixth number is validation.
"""

import re
from pathlib import Path

from common.errors import UsageError
from evaluation.datasets.files import images_below, not_empty
from evaluation.datasets.layout import About, Layout
from evaluation.datasets.sample import Kind, Sample, Split

NAME = "deepapl"
UM_PER_PIXEL = 0.10
BLAST = "Blast, no lineage spec"
NORMAL = frozenset({"Lymphocyte", "Segmented neutrophils", "Band neutrophils", "Monocyte", "Eosinophils", "Basophil"})
REJECT = frozenset({"Smudge cells", "Arifact", "Giant thrombocyte", "Thrombocyte aggregation"})
LABELS: dict[Kind, str] = {"blast": "myeloblast", "normal": "normal", "reject": "other", "rare": ""}
TEST_FROM = 80


def find(root: Path) -> list[Sample]:
    """Samples of DeepAPL; ``root`` holds ``Data/All``, or is ``Data`` itself."""
    base = root / "Data" if (root / "Data").is_dir() else root
    if not (base / "All").is_dir():
        raise UsageError(f"{root} is not in layout deepapl: it has no folder Data/All; name a checkout of DeepAPL")
    samples = [_sample(p, base) for p in images_below(base) if p.parent.parent.name == "Signed slides"]
    return not_empty(samples, root, "'Signed slides/<class>/*.jpg' below Data/All/Patient_NN")


def _sample(path: Path, base: Path) -> Sample:
    patient = re.search(r"Patient_(\d+)", path.relative_to(base).as_posix())
    number = int(patient[1]) if patient else None
    kind = _kind(path.parent.name)
    return Sample(
        path,
        patient="clinical case" if number is None else f"{number:03d}",
        group=path.parent.name,
        kind=kind,
        split=_split(number),
        label=LABELS[kind],
        dataset=NAME,
        um_per_pixel=UM_PER_PIXEL,
    )


def _kind(name: str) -> Kind:
    if name == BLAST:
        return "blast"
    if name in NORMAL:
        return "normal"
    return "reject" if name in REJECT else "rare"


def _split(patient: int | None) -> Split:
    """The clinical case has no number and belongs to the test."""
    if patient is None or patient >= TEST_FROM:
        return "test"
    return "validation" if patient % 6 == 5 else "training"  # noqa: PLR2004 - one sixth of the patients


LAYOUT = Layout(
    find,
    About(
        terms="DeepAPL (Sidhom et al., npj Precision Oncology 2021), copyright Johns Hopkins University, published "
        "for replication; no open licence is stated",
        normal="lymphocytes, segmented and band neutrophils, monocytes, eosinophils, basophils of leukaemia patients",
        blast="blasts without lineage (acute myeloid and promyelocytic leukaemia)",
        limits="""- DeepAPL's cells come from one laboratory and one camera. Other stains, cameras and magnifications
  are another domain until measured. A model that was trained on DeepAPL alone does not know cells cut out on black
  (C-NMC): no figure holds for them, and INT8 and FP32 differ there (5 labels of 51 such cells), for their activations
  leave the ranges.
- DeepAPL's leukaemias are acute myeloid and promyelocytic ones: it holds no lymphoblasts.
- Cells of DeepAPL marked (rare) above, such as promyelocytes, erythroblasts and variant lymphocytes, were trained
  as no class: what the model says of them is not knowledge. Those marked (reject), smudges above all, are trained
  as `other`, where the model has that class.""",
        weights="DeepAPL's images were published for replication, without an open licence.",
        storable=False,
        kind="myeloblast",
    ),
)
