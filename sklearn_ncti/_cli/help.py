"""Help texts that argparse does not write: short usage lines, and examples of each command."""

import argparse

# Commands to copy, under what they do. The tests parse each of them.
EXAMPLES = {
    "rank": (
        (
            "rank three families of models on a folder of class folders, and write a report",
            "photos --models 'resnet18*' 'convnext_t*' 'vit_small*' --html report.html",
        ),
        (
            "see what would be downloaded first",
            "photos --models 'convnext*' --license permissive --max-gmacs 5 --dry-run",
        ),
        (
            "spend about an hour, and go on with the models that may be the best",
            "photos --models '*' --max-parameters 30 --halving --max-time 3600",
        ),
        (
            "models of your own on 50 images per class, with confidence intervals",
            "photos --models local-dir:my_model --limit-per-class 50 --resamples 200",
        ),
        (
            "text encoders on a table",
            "reviews.csv --text text --label label --models local-dir:encoder owner/name",
        ),
    ),
    "score": (
        (
            "rank two candidates whose features and labels are saved",
            "resnet.npz vit.npz --resamples 200",
        ),
        (
            "features in .npy files, with labels of their own",
            "resnet.npy vit.npy --labels labels.npy --scorer robust",
        ),
    ),
    "models": (
        (
            "the most accurate small models whose license allows any use",
            "--license permissive --max-parameters 10 --sort top1 --descending",
        ),
        ("all models of two families, as a table", "'convnext*' 'vit_*' --csv models.csv"),
    ),
    "demo": (("rank the bundled models, without a network", "--output demo"),),
}

# argparse would list all options first, which fills a screen.
_USAGE = {
    "rank": "%(prog)s FOLDER --models NAME [NAME ...] [options]",
    "score": "%(prog)s FILE [FILE ...] [options]",
    "models": "%(prog)s [PATTERN ...] [options]",
}

_HEADING = "examples:\n"


class HelpFormatter(argparse.HelpFormatter):
    """A formatter that keeps the lines of examples and wraps all other texts."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith(_HEADING):
            return text
        return super()._fill_text(text, width, indent)


def improve_help(command: str, parser: argparse.ArgumentParser) -> None:
    """Give the parser of a command its usage line and its examples."""
    parser.formatter_class = HelpFormatter
    parser.usage = _USAGE.get(command)
    lines = [
        f"  {what}:\n    {parser.prog} {arguments}\n" for what, arguments in EXAMPLES[command]
    ]
    parser.epilog = (_HEADING + "".join(lines)).replace("%", "%%")
