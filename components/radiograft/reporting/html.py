"""What all HTML reports share: the Jinja environment, sections, and sentences about metrics."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from radiograft.registry.deciding_metrics import split_accuracy
from radiograft.registry.result_types import ClassMetrics, Estimate, SplitMetrics

BRANCHES = {  # of an attention-guided network
    "global": "Global: the whole image",
    "local": "Local: the crop",
    "fusion": "Fusion: both",
    "random_local": "Control: a random crop",
    "random_fusion": "Control: both, with a random crop",
}
STRATEGIES = {"feature_extraction": "Feature extraction", "fine_tuning": "Fine-tuning"}


class ReportSection(NamedTuple):
    """Section of the report. `template` is a file in `templates/sections`, which receives `content` as `section`."""

    template: str
    content: Mapping[str, object]


def environment() -> Environment:
    """Returns the Jinja environment that loads the report templates."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    environment.filters["measure"] = format_quantity
    environment.filters["strategy"] = STRATEGIES.__getitem__
    environment.filters["branch"] = BRANCHES.__getitem__
    environment.filters["plain"] = _plain
    environment.filters["sentence"] = format_sentence
    environment.filters["with_anchors"] = add_anchors
    environment.filters["base64"] = _base64
    return environment


class Anchored(NamedTuple):
    """HTML whose h2 headings have ids, and the id and the title, as HTML, of each heading for the contents list."""

    html: str
    entries: list[tuple[str, str]]


def add_anchors(html: str) -> Anchored:
    """Adds ids to the h2 headings of a page. Text from outside is escaped and cannot contain a heading.

    Example:
        >>> add_anchors("<h2>Data drift</h2>").html
        '<h2 id="data-drift">Data drift</h2>'
    """
    titles = re.findall("<h2>(.*?)</h2>", html)
    entries = [(re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-"), title) for title in titles]
    anchors = iter(entries)
    return Anchored(re.sub("<h2>", lambda _: f'<h2 id="{next(anchors)[0]}">', html), entries)


def format_sentence(text: str) -> str:
    """Returns a note as a sentence: with a capital letter and a period.

    Example:
        >>> format_sentence("the images are synthetic")
        'The images are synthetic.'
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…")) else ".")


def _plain(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _base64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def format_number(value: float | None) -> str:
    """Formats a number with three decimals; None as a dash.

    Example:
        >>> format_number(0.8125)
        '0.812'
    """
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def format_quantity(value: float | None) -> str:
    """Formats a number of any unit with three significant digits, or as an integer if it has more; None as a dash.

    Example:
        >>> [format_quantity(value) for value in (11.987, 1234.5, 0.012345, -3.0, 0.0)]
        ['12.0', '1,234', '0.0123', '-3.00', '0.00']
    """
    if value is None:
        return "\N{EN DASH}"
    digits = 2 if value == 0 else 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(digits, 0), 8)}f}"


def headline(strategy: str, test: SplitMetrics, place: str = "test") -> str:
    """Summarizes the metrics on test or another set: AUROC with interval, sample size, accuracy beside its baseline."""
    if "classes" in test:
        return _class_headline(STRATEGIES[strategy], test, test["classes"], place)
    mean, name = test["mean"], STRATEGIES[strategy]
    estimable, labels = mean["labels"], list(test["labels"])
    sample = f"{test['n_images']:,} {_kind(place)} images from {test['n_patients']:,} patients"
    accuracy = _accuracy_sentence(mean["accuracy"]["value"], mean["majority_accuracy"])
    if not estimable:
        return (
            f"{name} has no estimable AUROC on the {sample}: no label has enough patients of both classes in "
            f"validation and {place}. {accuracy}"
        )
    if len(labels) == 1:
        return f"{name} detects {labels[0]} with an AUROC of {_with_interval(mean['auroc'])} on {sample}. {accuracy}"
    return (
        f"{name} reaches a mean AUROC of {_with_interval(mean['auroc'])} over {len(estimable)} of {len(labels)} labels "
        f"on {sample}. {accuracy}"
    )


def _kind(place: str) -> str:
    return "test" if place == "test" else "external"


def _class_headline(name: str, test: SplitMetrics, classes: ClassMetrics, place: str) -> str:
    """Summarizes the metrics of exclusive classes: accuracy beside its baseline, balanced accuracy and AUROC."""
    estimable, auroc = test["mean"]["labels"], _with_interval(test["mean"]["auroc"])
    ranking = (
        f"The mean AUROC of one class against the rest is {auroc} over {len(estimable)} of {len(classes['names'])} "
        "classes."
        if estimable
        else "No class has enough patients for an AUROC."
    )
    majority, accuracy = classes["majority_class"], _with_interval(classes["accuracy"])
    return (
        f"{name} predicts the class of {classes['n_images']:,} {_kind(place)} images from {classes['n_patients']:,} "
        f"patients with an accuracy of {accuracy}. Always predicting {majority}, the most frequent of "
        f"{len(classes['names'])} classes in training, has {_with_interval(classes['majority_accuracy'])}. "
        f"The balanced accuracy is {_with_interval(classes['balanced_accuracy'])}. {ranking}"
    )


def _with_interval(auroc: Estimate) -> str:
    value, low, high = (format_number(number) for number in (auroc["value"], auroc["low"], auroc["high"]))
    if auroc["low"] is None:
        return f"{value} (too few patients for a confidence interval)"
    return f"{value} (95% CI {low} to {high})"


def _accuracy_sentence(accuracy: float | None, majority: float | None) -> str:
    if accuracy is not None and majority is not None and accuracy <= majority:
        return (
            f"Its accuracy of {format_number(accuracy)} does not exceed the majority-class baseline of "
            f"{format_number(majority)}."
        )
    return f"Its accuracy is {format_number(accuracy)}; the majority-class baseline is {format_number(majority)}."


def _includes_baseline(accuracy: Estimate, majority: float | None) -> bool:
    """Returns whether the accuracy exceeds the baseline but its interval includes it."""
    if accuracy["value"] is None or accuracy["low"] is None or majority is None:
        return False
    return accuracy["low"] <= majority < accuracy["value"]


def cautions(test: SplitMetrics, place: str = "test") -> list[str]:
    """Returns warnings that qualify the headline."""
    low = test["mean"]["auroc"]["low"]
    missing = [name for name in test["labels"] if name not in test["mean"]["labels"]]
    accuracy, majority = split_accuracy(test)[0], split_accuracy(test)[1]["value"]
    sentences = []
    if low is not None and low <= 0.5:
        sentences.append("The confidence interval of the AUROC includes 0.5: the result may be due to chance.")
    if "classes" in test and accuracy["value"] is not None and accuracy["value"] <= (majority or 0.0):
        sentences.append("The accuracy does not exceed the majority-class baseline.")
    if _includes_baseline(accuracy, majority):
        sentences.append(
            f"The confidence interval of the accuracy ({format_number(accuracy['low'])} to "
            f"{format_number(accuracy['high'])}) includes the majority-class baseline of {format_number(majority)}: "
            "the advantage over the baseline may be due to chance."
        )
    if missing:
        sentences.append(
            f"Not estimable and excluded from the mean, because validation or {place} has too few patients with or "
            f"without the label: {', '.join(missing)}."
        )
    return sentences
