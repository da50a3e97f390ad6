"""Compiles the pipelines to packages for upload in the KFP UI: `python -m radiograft_pipelines.compile`."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
from kfp import compiler

from radiograft.stages.container_image import TRAINER_IMAGE, is_pinned
from radiograft_pipelines.cli.console import cli_errors
from radiograft_pipelines.cluster.package import COMPILED
from radiograft_pipelines.cluster.profile import ClusterProfile, apply_profile

# KFP's compiler numbers the group of a condition. The UI shows this name when the group is open.
CONDITION, NESTED_PIPELINE = "condition-1", "train-and-publish"


def compile_all(folder: Path) -> list[Path]:
    """Writes every pipeline's package to the existing folder `folder` and returns the files.

    The import of a DAG builds its pipeline, which takes seconds.
    """
    from radiograft_pipelines.dags.backbone_comparison import backbone_comparison
    from radiograft_pipelines.dags.cutoff_search import cutoff_search
    from radiograft_pipelines.dags.hyperparameter_search import hyperparameter_search
    from radiograft_pipelines.dags.super_resolution import super_resolution
    from radiograft_pipelines.dags.transfer_learning import retraining, transfer_learning

    pipelines = {
        folder / "transfer_learning.yaml": transfer_learning,
        folder / "retraining.yaml": retraining,
        folder / "cutoff_search.yaml": cutoff_search,
        folder / "backbone_comparison.yaml": backbone_comparison,
        folder / "hyperparameter_search.yaml": hyperparameter_search,
        folder / "super_resolution.yaml": super_resolution,
    }
    for path, pipeline in pipelines.items():
        compiler.Compiler().compile(pipeline, str(path))
        path.write_text(path.read_text().replace(CONDITION, NESTED_PIPELINE))
    return list(pipelines)


@click.command()
@click.argument("folder", default=COMPILED, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--cluster",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Cluster profile, such as manifests/overlays/gke/cluster.yaml.",
)
def main(folder: Path, cluster: Path | None) -> None:
    """Writes every pipeline's package to FOLDER."""
    if not is_pinned(TRAINER_IMAGE):
        click.echo(
            f"warning: {TRAINER_IMAGE} is named by a tag, which can be moved to another image; "
            "set RADIOGRAFT_TRAINER_IMAGE to a digest (...@sha256:...) for runs on a cluster",
            err=True,
        )
    with cli_errors(), tempfile.TemporaryDirectory() as drafts:  # writes all packages or none
        profile = ClusterProfile.read(cluster) if cluster else None
        texts = {path.name: path.read_text() for path in compile_all(Path(drafts))}
        if profile:
            texts = {name: apply_profile(text, profile) for name, text in texts.items()}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
            click.echo(f"wrote {folder / name}")


if __name__ == "__main__":
    main()
