"""The small zoo of models that is shipped, and the digits to rank it on."""

import json
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from ..backbones import TimmBackbone

_ZOO = Path(__file__).resolve().parent / "zoo"


def _read(name: str) -> Any:
    return json.loads((_ZOO / name).read_text(encoding="utf-8"))


def load_zoo() -> list[tuple[str, TimmBackbone]]:
    """Candidates to rank without any download: small models that come with the package.

    They were trained on CIFAR-10 at 32x32 pixels, to deliberately different quality: for long
    or briefly, on all ten classes or on three of them. Those whose name ends in "random" were
    not trained at all. How each was made stands in ``README.md`` in their folder.

    Returns
    -------
    candidates : list of (str, TimmBackbone)
        Names and backbones that are not fitted yet, ready for
        :class:`~sklearn_ncti.ModelSelector`.

    See Also
    --------
    load_digit_images : Labelled images to rank them on.
    load_zoo_accuracies : What fine-tuning them on these images gives.

    Notes
    -----
    The backbones need ``torch`` and ``timm`` when they are fitted, not before.

    Examples
    --------
    >>> from sklearn_ncti.datasets import load_zoo
    >>> for name, backbone in load_zoo():
    ...     print(name, backbone.pretrained)
    resnet-all-long True
    convnext-all-long True
    vit-all-short True
    efficientnet-all-short True
    byobnet-animals True
    nfnet-vehicles True
    resnet-random False
    vit-random False
    """
    return [
        (
            record["name"],
            TimmBackbone(f"local-dir:{_ZOO / record['name']}", pretrained=record["pretrained"]),
        )
        for record in _read("zoo.json")
    ]


def load_digit_images() -> tuple[np.ndarray, np.ndarray]:
    """Load the handwritten digits of scikit-learn as grey images.

    Returns
    -------
    images : ndarray of shape (1797, 8, 8) and dtype uint8
        The images; the 17 levels of grey are spread over 0 to 255.

    labels : ndarray of shape (1797,) and dtype int64
        The digit of each image.

    See Also
    --------
    sklearn.datasets.load_digits : The same as a feature matrix.

    Examples
    --------
    >>> from sklearn_ncti.datasets import load_digit_images
    >>> images, labels = load_digit_images()
    >>> images.shape, images.dtype, int(images.max())
    ((1797, 8, 8), dtype('uint8'), 255)
    >>> labels[:5].tolist()
    [0, 1, 2, 3, 4]
    """
    # Here, not above: sklearn.datasets takes as long to import as the whole package.
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    return images, digits.target.astype(np.int64)


@overload
def load_zoo_accuracies(*, return_std: Literal[False] = False) -> dict[str, float]: ...


@overload
def load_zoo_accuracies(
    *, return_std: Literal[True]
) -> tuple[dict[str, float], dict[str, float]]: ...


def load_zoo_accuracies(
    *, return_std: bool = False
) -> dict[str, float] | tuple[dict[str, float], dict[str, float]]:
    """Load what fine-tuning each model of the zoo on the digits gave.

    The numbers were measured by ``benchmarks/finetune_zoo.py``. The protocol and all runs are
    in ``finetuned.json`` in the folder of the zoo.

    Parameters
    ----------
    return_std : bool, default=False
        Whether to return the standard deviations too.

    Returns
    -------
    accuracies : dict of str to float
        Test accuracy in per cent by the name of the model, the mean over the seeds.

    deviations : dict of str to float
        Standard deviation over the seeds, in per cent. Only if `return_std` is True.

    See Also
    --------
    sklearn_ncti.Ranking.agreement : How well a ranking agrees with them.

    Examples
    --------
    >>> from sklearn_ncti.datasets import load_zoo, load_zoo_accuracies
    >>> accuracies = load_zoo_accuracies()
    >>> list(accuracies) == [name for name, _ in load_zoo()]
    True
    """
    models = _read("finetuned.json")["models"]
    mean, std = (
        {name: round(100 * model[key], 2) for name, model in models.items()}
        for key in ("test_mean", "test_std")
    )
    return (mean, std) if return_std else mean
