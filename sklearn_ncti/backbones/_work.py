"""How much work a network is for one image, from what is published of it.

Multiply-accumulate operations alone predict no time: depthwise convolutions have few, and wait
for memory. Work counts the results of layers as well. With the weight that they have here,
convolutional networks and transformers take about the same time for the same work
(benchmarks/plan.py).
"""

# Units of work (billions of operations) for a million results of layers.
_OF_A_MILLION = 0.15


def work_of(gmacs: float, activations: float) -> float:
    """Return the work of a network for one image.

    Parameters
    ----------
    gmacs : float
        Multiply-accumulate operations in billions.

    activations : float
        Number of results of convolutions and matrix products.

    Returns
    -------
    work : float
        Units of work.
    """
    return gmacs + _OF_A_MILLION * activations / 1e6
