"""Several readings of one image: how far the readers agree about each label, and one reference standard from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from radiograft.config import NO_FINDING, Ingest
from radiograft.config.data import MULTICLASS, REGRESSION, UNANIMOUS
from radiograft.config.data_policy import CONFLICTING_ROWS
from radiograft.data.catalog import exclusion
from radiograft.data.soft_labels import TIE, majority_class
from radiograft.data.sources.base import Source
from radiograft.data.sources.label_cells import UNKNOWN, known_only
from radiograft.registry.results import ReaderAgreement

COHEN, FLEISS = "Cohen's kappa", "Fleiss' kappa"


def merge_readings(source: Source, settings: Ingest) -> tuple[Source, list[ReaderAgreement]]:
    """Merges the readings of each image as `data_readers` says; `unanimous` excludes images whose readings differ.

    Only what was requested must agree: the labels and, if it decides which images are negatives, `No Finding`. A
    reading that calls a label unknown never makes an image a negative: the label is unknown, unless it is present
    however that reader had decided.

    Returns:
        The source with the merged findings, and the agreement about each label; none if no image has several readings.
        `mean` gives labels between 0 and 1.
    """
    requested = [label for label in settings.findings() if label in source.findings]
    if source.readings is None or source.readings.empty or not requested:
        return source, []
    if settings.data_task == REGRESSION:
        return _merge_numbers(source, source.readings, settings.data_readers, requested), []
    readings = _by_reader(source.readings.set_axis(["image_id", "reader", *source.findings], axis="columns"))
    readings = readings[readings["image_id"].isin(source.rows["image_id"])]
    rule = settings.data_readers
    names = list(dict.fromkeys([*requested, *({NO_FINDING} & set(readings))]))
    votes = readings.set_index("image_id")[names]
    known = known_only(votes)
    merged, left_open = _merge_votes(votes, known, rule)
    if settings.data_task == MULTICLASS:
        merged[requested] = _without_undecided(merged[requested], known[requested])
    source = _with_findings(source, merged[requested] if rule == UNANIMOUS else merged)
    source = source._replace(notes=(*source.notes, *_open_notes(left_open[requested])))
    readings = readings[["image_id", "reader"]].join(known.set_axis(readings.index))
    agreement = [measure_agreement(readings[["image_id", "reader", label]]) for label in requested]
    if rule == UNANIMOUS:
        decisive = [NO_FINDING] if settings.data_negatives == "no_finding" and NO_FINDING in readings else []
        source = _without_disagreement(source, readings, [*requested, *decisive])
    return source, agreement


def _merge_numbers(source: Source, readings: pd.DataFrame, rule: str, targets: Sequence[str]) -> Source:
    """Averages the numbers of each image, or excludes images whose readings differ (`unanimous`)."""
    readings = readings.set_axis(["image_id", "reader", *source.findings], axis="columns")
    readings = readings[readings["image_id"].isin(source.rows["image_id"])]
    merged = readings.groupby("image_id")[list(targets)].mean()
    differing = int(readings.groupby("image_id")[list(targets)].nunique().gt(1).any(axis="columns").sum())
    if rule == UNANIMOUS:
        return _without_disagreement(_with_findings(source, merged), readings, targets)
    note = f"{differing:,} images have several readings that differ: data_readers=mean averages them"
    return _with_findings(source, merged)._replace(notes=(*source.notes, *([note] if differing else [])))


def _by_reader(readings: pd.DataFrame) -> pd.DataFrame:
    """Merges the rows of one reader, who may have a row for each finding; a row without a reader is a reading."""
    named = readings["reader"].fillna("") != ""
    merged = readings[named].groupby(["image_id", "reader"], as_index=False).max()
    return pd.concat([merged, readings[~named]], ignore_index=True)


def _merge_votes(votes: pd.DataFrame, known: pd.DataFrame, rule: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Merges the votes of each image, the index.

    Args:
        votes: 1.0, 0.0, UNKNOWN, or NaN for no statement.
        known: the same with NaN in place of UNKNOWN.
        rule: a key of RULES.

    Returns:
        The labels, and which of them are unknown only because a reader calls them unknown.
    """
    merged = RULES[rule](known)
    if not votes.eq(UNKNOWN).any(axis=None):
        return merged, merged.isna() & False
    is_open = votes.eq(UNKNOWN).groupby(level=0).any()
    is_present = majority_class(RULES[rule](votes.replace(UNKNOWN, 0.0))).eq(1.0)
    left_open = is_open & ~is_present & merged.notna()
    return merged.mask(left_open), left_open


def _without_undecided(merged: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Returns exclusive classes that are unknown for the images whose readers see a class, but not the same one."""
    has_vote = known.eq(1.0).any(axis="columns").groupby(level=0).any().reindex(merged.index)
    return merged.mask(has_vote & ~merged.eq(1.0).any(axis="columns"))


def _with_findings(source: Source, merged: pd.DataFrame) -> Source:
    findings = source.findings.set_axis(source.rows["image_id"])
    findings.loc[merged.index, list(merged)] = merged
    return source._replace(findings=findings.set_axis(source.findings.index))


def _without_disagreement(source: Source, readings: pd.DataFrame, names: Sequence[str]) -> Source:
    different = readings.groupby("image_id")[list(names)].nunique().gt(1).any(axis="columns")
    ids = different.index[different]
    kept = ~source.rows["image_id"].isin(ids)
    return source._replace(
        rows=source.rows[kept].reset_index(drop=True),
        findings=source.findings[kept].reset_index(drop=True),
        excluded=pd.concat([source.excluded, exclusion(ids, CONFLICTING_ROWS)]),
    )


def _any(votes: pd.DataFrame) -> pd.DataFrame:
    return _merge(votes, finding="max", normal="min")


def _all(votes: pd.DataFrame) -> pd.DataFrame:
    return _merge(votes, finding="min", normal="max")


def _mean(votes: pd.DataFrame) -> pd.DataFrame:
    """Returns the share of the votes that are 1.0; `No Finding`, which decides about negatives, by majority."""
    share = votes.groupby(level=0).mean()
    return share.assign(**{NO_FINDING: majority_class(share[NO_FINDING])}) if NO_FINDING in share else share


def _majority(votes: pd.DataFrame) -> pd.DataFrame:
    """Returns 1.0 or 0.0 as more than half of the votes say, and a missing value for a tie."""
    return majority_class(votes.groupby(level=0).mean())


def _merge(votes: pd.DataFrame, finding: str, normal: str) -> pd.DataFrame:
    """Merges findings by one rule, `max` or `min`, and `No Finding`, their opposite, by the other."""
    rules = {name: normal if name == NO_FINDING else finding for name in votes}
    return votes.groupby(level=0).agg(rules)


RULES: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    UNANIMOUS: lambda votes: votes.groupby(level=0).min(),  # images whose votes differ are excluded
    "any": _any,
    "all": _all,
    "majority": _majority,
    "mean": _mean,
}


def _open_notes(left_open: pd.DataFrame) -> tuple[str, ...]:
    counts = left_open.sum()
    return tuple(
        f"{count:,} images have a row that calls {label} unknown beside one that does not: {label} is unknown there"
        for label, count in counts[counts > 0].items()
    )


def soft_notes(source: Source, labels: Sequence[str]) -> tuple[str, ...]:
    """Returns a note for each label with values between 0 and 1, which says how they count."""
    shares = {label: source.findings[label] for label in labels if label in source.findings}
    soft = {label: share[share.gt(0) & share.lt(1)] for label, share in shares.items()}
    return tuple(
        f"{label} is a soft label of {len(share):,} images, the share of readers who see it: training learns the "
        f"share; everywhere else {int(share.gt(TIE).sum()):,} with more than half count as positive, "
        f"{int(share.lt(TIE).sum()):,} as negative and {int(share.eq(TIE).sum()):,} ties as unknown"
        for label, share in soft.items()
        if len(share)
    )


def measure_agreement(readings: pd.DataFrame) -> ReaderAgreement:
    """Measures how far readers agree about one label: share of images with different readings, and kappa.

    Kappa is Cohen's for two readers, each with a reading of every image; otherwise Fleiss', in Fleiss and Cuzick's form
    (1979) for varying numbers of readers. Without names of readers, the order of the rows stands for the reader.

    Args:
        readings: image_id, reader and the label's column: 1.0, 0.0 or missing.
    """
    label = str(readings.columns[-1])
    known = readings.dropna(subset=[label])
    known = known[known["image_id"].duplicated(keep=False)]
    groups = known.groupby("image_id")[label]
    sizes, positives = groups.size().to_numpy(), groups.sum().to_numpy()
    disagreements = int(((positives > 0) & (positives < sizes)).sum())
    order = "row " + known.groupby("image_id").cumcount().astype("string")
    reader = known["reader"].fillna("").astype("string")
    pairs = known.assign(reader=reader.mask(reader == "", order)).pivot(
        index="image_id", columns="reader", values=label
    )
    two_readers = pairs.shape[1] == 2 and not pairs.isna().to_numpy().any()
    return {
        "label": label,
        "images": len(sizes),
        "disagreements": disagreements,
        "share": disagreements / len(sizes) if len(sizes) else 0.0,
        "kappa": cohen_kappa(*pairs.to_numpy().T) if two_readers else fleiss_kappa(positives, sizes),
        "statistic": COHEN if two_readers else FLEISS,
    }


def cohen_kappa(first: Iterable[float], second: Iterable[float]) -> float | None:
    """Computes Cohen's kappa (1960) of two readers, -1 to 1; None if both give every image the same single label.

    Example:
        >>> round(cohen_kappa([1, 1, 0, 0], [1, 0, 0, 0]), 3)
        0.5
    """
    one, other = (np.asarray(list(values), np.float64) for values in (first, second))
    chance = one.mean() * other.mean() + (1 - one.mean()) * (1 - other.mean())
    return None if chance == 1 else float(((one == other).mean() - chance) / (1 - chance))


def fleiss_kappa(positives: Sequence[float] | np.ndarray, readings: Sequence[int] | np.ndarray) -> float | None:
    """Computes Fleiss' kappa for one label and any number of readings of an image; None if all readings are equal.

    Args:
        positives: (n,) number of readers who see the label in each image.
        readings: (n,) number of readers of each image, 2 or more.
    """
    counts, sizes = np.asarray(positives, np.float64), np.asarray(readings, np.float64)
    share = counts.sum() / sizes.sum() if len(sizes) else 0.0
    if share in (0.0, 1.0):
        return None
    observed = (counts * (sizes - counts) / sizes).sum() / (len(sizes) * (sizes.mean() - 1) * share * (1 - share))
    return float(1 - observed)


def agreement_notes(agreement: Sequence[ReaderAgreement], rule: str) -> tuple[str, ...]:
    """Returns a note for each label about which readers differ."""
    outcomes = {
        UNANIMOUS: "these images are excluded; data_readers=majority, any, all or mean merges the readings",
        "majority": "data_readers=majority decides, a tie is unknown",
    }
    outcome = outcomes.get(rule, f"data_readers={rule} decides")
    return tuple(
        f"readers differ about {each['label']} in {each['disagreements']:,} of {each['images']:,} images that several "
        f"read ({100 * each['share']:.1f}%, {each['statistic']} {each['kappa']:.2f}): {outcome}"
        for each in agreement
        if each["disagreements"]
    )
