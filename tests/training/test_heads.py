"""Heads know the kinds of blasts, and not the laboratory; what is unlike the training is far."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from common.errors import UsageError
from contract.decide import margins_of
from contract.manifest import Columns
from evaluation.datasets.sample import Sample
from evaluation.decision import choose_unknown
from evaluation.metrics import auroc, sigmoid
from training.heads import Heads, calibrated, columns_of, fit_heads, trainable
from training.network import Architecture, BlastNet
from training.sizes import Changes

WIDE = 40


def sample(k: int, label: str, dataset: str = "a", *, split: str = "training") -> Sample:
    kind = {"normal": "normal", "other": "reject", "": "rare"}.get(label, "blast")
    return Sample(Path(f"{dataset}/{k:04d}"), f"p{k % 7}", label, kind, split, label, dataset)  # type: ignore[arg-type]


def cells(rng: np.random.Generator, each: int) -> tuple[np.ndarray, list[Sample]]:
    """Two laboratories. Feature 0 tells lymphoblasts, 1 myeloblasts, 2 what is no cell, 3 the laboratory."""
    parts = [("normal", "a"), ("lymphoblast", "a"), ("normal", "b"), ("myeloblast", "b"), ("other", "b")]
    place = {"lymphoblast": 0, "myeloblast": 1, "other": 2}
    rows: list[np.ndarray] = []
    samples: list[Sample] = []
    for label, laboratory in parts:
        for _ in range(each):
            row = rng.normal(size=WIDE)
            if label in place:
                row[place[label]] += 5
            row[3] += 6 * (laboratory == "b")
            rows.append(row)
            samples.append(sample(len(samples), label, laboratory))
    return np.array(rows), samples


@pytest.fixture(scope="module")
def fitted() -> Heads:
    features, samples = cells(np.random.default_rng(0), 150)
    unseen, others = cells(np.random.default_rng(1), 60)
    return calibrated(fit_heads(features, samples), unseen, others)


def test_each_head_knows_its_own_kind(fitted: Heads) -> None:
    features, samples = cells(np.random.default_rng(2), 80)
    assert fitted.columns == Columns(("normal", "lymphoblast", "myeloblast", "other"), distance=True)
    scores, labels = fitted.scores(features), np.array([s.label for s in samples])
    for k, name in enumerate(fitted.columns.names[1:], 1):
        rest = (labels == name) | (labels == "normal")
        assert auroc((labels[rest] == name).astype(np.int64), scores[rest, k].astype(np.float64)) > 0.98
    judged = labels != "other"
    assert auroc(np.isin(labels[judged], ["lymphoblast", "myeloblast"]).astype(np.int64),
                 margins_of(scores[judged], fitted.columns)) > 0.98  # fmt: skip


def test_the_laboratory_alone_makes_no_blast(fitted: Heads) -> None:
    """A normal cell of the laboratory that has no lymphoblasts is none, and one of a third laboratory neither."""
    features, samples = cells(np.random.default_rng(3), 80)
    normal = np.array([s.label == "normal" for s in samples])
    called = sigmoid(margins_of(fitted.scores(features[normal]), fitted.columns)) > 0.5
    assert called.mean() < 0.05


def test_a_head_that_sees_one_laboratory_learns_the_laboratory() -> None:
    """The reason for the share of foreign normal cells: without it they are called lymphoblasts."""
    features, samples = cells(np.random.default_rng(0), 150)
    features[np.array([s.label == "lymphoblast" for s in samples]), 3] += 3
    at_home = np.array([s.dataset == "a" for s in samples])
    narrow = fit_heads(features[at_home], [s for s, use in zip(samples, at_home, strict=True) if use])
    wide = fit_heads(features, samples)
    foreign = np.array([s.dataset == "b" and s.label == "normal" for s in samples])
    assert (narrow.scores(features[foreign])[:, 1] > 0).mean() > 3 * (wide.scores(features[foreign])[:, 1] > 0).mean()


def test_of_the_two_heads_of_a_kind_the_lesser_score_counts(fitted: Heads) -> None:
    features, _ = cells(np.random.default_rng(6), 20)
    first, second = features @ fitted.weight.T + fitted.bias, features @ fitted.second.T + fitted.second_bias
    np.testing.assert_allclose(fitted.scores(features)[:, :-1], np.minimum(first, second), rtol=1e-5, atol=1e-5)
    names = fitted.columns.names
    twice = [name for k, name in enumerate(names) if not np.array_equal(fitted.weight[k], fitted.second[k])]
    assert twice == ["lymphoblast", "myeloblast"]


def test_two_heads_know_the_blasts_of_a_laboratory_better_than_one_for_all() -> None:
    """Normal cells of the other laboratory look like lymphoblasts by what tells these at home, and differ by more."""

    def confused(seed: int) -> tuple[np.ndarray, np.ndarray, list[Sample]]:
        features, samples = cells(np.random.default_rng(seed), 150)
        kinds = np.array([f"{s.label} {s.dataset}" for s in samples])
        features[kinds == "lymphoblast a", 0] -= 3
        features[kinds == "normal b", :1] += 8
        features[kinds == "normal b", 4] -= 6
        return features, kinds, samples

    features, _, samples = confused(0)
    unseen, kinds, _ = confused(1)
    home = (kinds == "lymphoblast a") | (kinds == "normal a")
    both = fit_heads(features, samples).scores(unseen)[:, 1]
    one = fit_heads(features, [replace(s, dataset="a") for s in samples]).scores(unseen)[:, 1]
    known = [auroc((kinds[home] == "lymphoblast a").astype(np.int64), s[home].astype(np.float64)) for s in (both, one)]
    assert known[0] > known[1] + 0.02
    assert (both[kinds == "normal b"] > 0).mean() <= (one[kinds == "normal b"] > 0).mean()


def test_where_all_normal_cells_are_of_one_laboratory_a_kind_has_one_head() -> None:
    features, samples = cells(np.random.default_rng(0), 100)
    at_home = np.array([s.dataset == "a" for s in samples])
    heads = fit_heads(features[at_home], [s for s, use in zip(samples, at_home, strict=True) if use])
    assert np.array_equal(heads.weight, heads.second)
    shape = Architecture(stem=4, stages=(8, 8), blocks=(1, 1))
    assert not heads.on(BlastNet(shape)).shape.twice


def test_what_is_unlike_the_training_is_far_and_doubted(fitted: Heads) -> None:
    features, samples = cells(np.random.default_rng(4), 80)
    judged = np.array([s.labelled for s in samples])
    scores = fitted.scores(features[judged])
    assert scores[:, -1].mean() == pytest.approx(1, abs=0.2)
    unknown = choose_unknown(scores, fitted.columns)
    assert unknown is not None
    strange = features[judged] + np.random.default_rng(5).normal(0, 6, (int(judged.sum()), WIDE))
    assert (fitted.scores(strange)[:, -1] > unknown.distance).mean() > 0.9
    assert (scores[:, -1] > unknown.distance).mean() < 0.01
    assert choose_unknown(scores[:, :2], Columns()) is None


def test_the_network_with_the_heads_scores_as_they_do(fitted: Heads) -> None:
    shape = Architecture(stem=4, stages=(8, 8), blocks=(1, 1))
    assert shape.features == WIDE
    torch.manual_seed(0)
    trunk = BlastNet(shape).eval()
    network = fitted.on(trunk)
    image = torch.randn(5, 3, 32, 32)
    with torch.inference_mode():
        features, scores = trunk.features(image).numpy(), network(image).numpy()
    np.testing.assert_allclose(scores, fitted.scores(features), rtol=2e-4, atol=2e-3)


def test_a_temperature_is_that_of_the_kinds_own_data_set() -> None:
    features, samples = cells(np.random.default_rng(0), 100)
    heads = fit_heads(features, samples)
    mixed = [replace(s, label="lymphoblast", kind="blast") if k % 3 == 0 and s.dataset == "a" else s
             for k, s in enumerate(samples)]  # fmt: skip
    softer = calibrated(heads, features, mixed)
    assert np.abs(softer.weight[1]).sum() < 0.8 * np.abs(heads.weight[1]).sum()
    assert np.abs(softer.weight[2]).sum() >= np.abs(heads.weight[2]).sum()


def test_the_columns_are_those_of_the_cells() -> None:
    few = [sample(0, "normal"), sample(1, "lymphoblast")]
    assert columns_of(few).names == ("normal", "lymphoblast")
    assert columns_of([*few, sample(2, "blast")]).names == ("normal", "blast")
    for rows in (few[:1], few[1:]):
        with pytest.raises(UsageError, match="normal cells and blasts"):
            columns_of(rows)
    assert [s.label for s in trainable([sample(2, "other"), sample(1, ""), *few])] == ["normal", "lymphoblast", "other"]


def test_a_wrong_scale_counts_for_less_where_it_is_known_what_it_changes() -> None:
    """Feature 0 tells lymphoblasts, and is what a wrong scale moves; 4 tells them less well."""
    features, samples = cells(np.random.default_rng(0), 150)
    lymphoblasts = np.array([s.label == "lymphoblast" for s in samples])
    features[lymphoblasts, 4] += 2
    moved = np.zeros((len(samples), WIDE))
    moved[:, 0] = 3
    blind, free = (fit_heads(features, samples, sizes) for sizes in (Changes(moved, samples), None))
    heed = [abs(heads.weight[1, 0] / heads.weight[1, 4]) for heads in (blind, free)]
    assert heed[0] < 0.3 * heed[1]
    assert np.array_equal(blind.weight[2], free.weight[2])
