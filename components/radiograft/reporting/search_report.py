"""The report of a hyperparameter search."""

from __future__ import annotations

import collections
from collections.abc import Mapping

from radiograft.registry.search_types import SearchResults
from radiograft.reporting.html import environment
from radiograft.reporting.search_plots import parallel_coordinates_svg, search_history_svg


def render_search_report(results: SearchResults, title: str, created: str) -> str:
    """Renders the report of a search as an HTML page.

    Args:
        results: the finished search.
        title: of the page.
        created: ISO 8601 time.
    """
    return (
        environment()
        .get_template("search_page.html.j2")
        .render(title=title, created=created, section={**results, **_plots(results)}, summary=summarize(results))
    )


def summarize(results: SearchResults) -> str:
    """Returns the outcome in sentences: number of trials, the winner, and its difference from the default settings."""
    states = collections.Counter(trial["state"] for trial in results["trials"])
    counts = f"{len(results['trials'])} trials: {states['complete']} complete, {states['pruned']} stopped early"
    counts += f", {states['failed']} failed." if states["failed"] else "."
    winner = results["finalists"][results["winner"]]
    if winner["trial"] is None:
        return f"{counts} No finalist was better than the default settings."
    seeds = len(winner["metrics"])
    text = (
        f"{counts} The winner is trial {winner['trial']}, {results['metric']} {winner['mean']:.3f} "
        f"over {seeds} {'seed' if seeds == 1 else 'seeds'}."
    )
    test = results["comparison"].get("test")
    if test and test["auroc"]["difference"] and test["auroc"]["difference"]["value"] is not None:
        text += (
            f" On test its AUROC differs from that of the default settings by {_interval(test['auroc']['difference'])}."
        )
    return text


def _interval(estimate: Mapping[str, object]) -> str:
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    return f"{value:+.3f}" if low is None else f"{value:+.3f} (95% CI {low:+.3f} to {high:+.3f})"


def _plots(results: SearchResults) -> dict[str, dict[str, str] | None]:
    trials, metric, mode = results["trials"], results["metric"], results["mode"]
    complete = sum(trial["state"] == "complete" for trial in trials)
    history = {
        "caption": f"{metric} by trial",
        "svg": search_history_svg(trials, metric, mode),
        "alt": f"{metric} of {len(trials)} trials, of which {complete} ran all epochs",
    }
    parallel = {
        "caption": "Parameters of the trials that were not stopped early; better trials are darker",
        "svg": parallel_coordinates_svg(trials, metric, mode),
        "alt": f"Parallel coordinates of {complete} trials",
    }
    return {"history": history, "parallel": parallel if complete > 1 else None}
