"""What the command line says and asks before the work: models, plan, downloads."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .._selection.candidates import as_transformer
from .._selection.plan import (
    CandidateFacts,
    Plan,
    download_bytes,
    facts_of_candidates,
    facts_of_names,
    filtered_names,
    make_plan,
    names_without_timm,
)
from .._utils.terminal import is_terminal, printable, say
from ..backbones import TextBackbone, expand_model_names
from ..datasets import Catalogue, load_catalogue
from .inputs import UsageError, read_rows, text_model_names
from .options import ModelsOptions, RankOptions
from .outputs import Listing, plain

# Columns of the table of models: header, column of the catalogue, and how a value is shown.
_TABLE = (
    ("model", "name", "{}"),
    ("top-1 %", "top1", "{:.1f}"),
    ("million parameters", "n_parameters", "{:.1f}"),
    ("GMACs", "gmacs", "{:.2f}"),
    ("input", "input_size", "{}"),
    ("license", "license", "{}"),
    ("trained on", "pretrained_on", "{}"),
    ("supervision", "supervision", "{}"),
)


def list_models(options: ModelsOptions) -> Listing:
    """Return the models of the catalogue that the options ask for.

    Raises
    ------
    UsageError
        If a filter cannot be read, or no model is left.
    """
    try:
        catalogue = load_catalogue()
        kept = catalogue.take(options.filters.kept(catalogue))
    except (ValueError, TypeError) as exc:
        raise UsageError(exc) from exc
    kept = kept.sort_by(options.sort, ascending=not options.descending)
    columns = {name: kept[name].tolist() for name in kept}
    rows = [{name: plain(values[i]) for name, values in columns.items()} for i in range(len(kept))]
    document = {"source": kept.source, "models": rows}
    return Listing(options.command, _table(kept), document, rows)


def plan_only(options: RankOptions) -> Listing:
    """Return what a run would download and cost.

    Raises
    ------
    UsageError
        If the run would not start.
    """
    if options.shortlist is not None:
        raise UsageError("--dry-run ranks nothing; leave out --shortlist")
    if options.outputs.plot is not None or options.outputs.html is not None:
        raise UsageError("--dry-run ranks nothing; leave out --plot and --html")
    try:
        rows, _ = read_rows(options)
        facts = _facts_of_texts(options) if options.text is not None else _facts_of_images(options)
    except (ValueError, TypeError, OSError) as exc:
        raise UsageError(exc) from exc
    plan = _plan(facts, rows, options)
    document = plan.to_dict()
    text = str(plan)
    if options.search.halving:
        text += (
            f"\n\nThis is for all candidates on all {options.rows}, the most that --halving can "
            "take."
        )
    return Listing(options.command, text, {"plan": document}, document["candidates"])


def _facts_of_images(options: RankOptions) -> list[CandidateFacts]:
    # Without timm, whose import takes longer than the plan.
    names = names_without_timm(options.models)
    without_timm = names is not None
    names = filtered_names(names or expand_model_names(options.models), options.filters)
    return facts_of_names(names) if without_timm else _facts(names)


def _facts_of_texts(options: RankOptions) -> list[CandidateFacts]:
    names = text_model_names(options.models)
    return facts_of_candidates([(name, TextBackbone(name)) for name in names])


def ask_before_download(options: RankOptions, names: Sequence[str], rows: Sequence[Any]) -> None:
    """Ask before a large download, with the plan.

    What has no published size, as text encoders, does not count.

    Raises
    ------
    UsageError
        If the answer is not yes, or nobody can be asked.
    """
    if options.yes:
        return
    # No other network is built for it.
    size = download_bytes(facts_of_names(names)) / 1e9
    if options.search.max_download is not None:
        size = min(size, options.search.max_download)
    if size <= options.ask_above:
        return
    say(str(_plan(_facts(names), rows, options)))
    why = (
        f"about {size:.1f} GB would be downloaded, more than --ask-above {options.ask_above:g} GB"
    )
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError(f"{why}; give --yes to download them, or choose fewer models")
    say(f"{why}. Continue? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was downloaded")


def _facts(names) -> list[CandidateFacts]:
    return facts_of_candidates([(name, as_transformer(name)) for name in names])


def _plan(facts, rows, options) -> Plan:
    return make_plan(facts, rows, device=options.device, precision=options.precision)


def _table(catalogue: Catalogue) -> str:
    """Return the models as an aligned table."""
    columns = [
        [header, *(_shown(value, form) for value in _values(catalogue, name))]
        for header, name, form in _TABLE
    ]
    is_text = [catalogue[name].dtype.kind == "U" for _, name, _ in _TABLE]
    widths = [max(map(len, column)) for column in columns]
    lines = [
        "  ".join(
            f"{cell:{'<' if text else '>'}{width}}"
            for cell, width, text in zip(cells, widths, is_text, strict=True)
        ).rstrip()
        for cells in zip(*columns, strict=True)
    ]
    return "\n".join([*lines, f"{len(catalogue)} of {len(load_catalogue())} models"])


def _values(catalogue: Catalogue, name: str) -> list[Any]:
    values = catalogue[name]
    return (values / 1e6 if name == "n_parameters" else values).tolist()


def _shown(value: Any, form: str) -> str:
    return "" if isinstance(value, float) and np.isnan(value) else printable(form.format(value))
