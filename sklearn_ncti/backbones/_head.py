"""Networks of timm with their classification heads; imported with torch."""

import torch

from ._network import check_features


class WithHead(torch.nn.Module):
    """A network that gives the probabilities of its source classes, after its features or alone.

    Parameters
    ----------
    network : torch.nn.Module
        A network of timm with a head.

    gives_features : bool
        Whether its features come first, in the same rows and from the same pass.

    Attributes
    ----------
    n_classes : int
        Columns that hold probabilities, the last ones.

    classification_heads : list of torch.nn.Module
        The last layers, which give the logits.

    n_head_parameters : int
        Weights that the features do without; 0 where there are no features.
    """

    def __init__(self, network: torch.nn.Module, *, gives_features: bool) -> None:
        super().__init__()
        self.network = network
        self.gives_features = gives_features
        self.pretrained_cfg = getattr(network, "pretrained_cfg", None)
        self.n_classes = network.num_classes
        heads = network.get_classifier() if hasattr(network, "get_classifier") else []
        # Distilled networks have two.
        self.classification_heads = list(heads) if isinstance(heads, tuple | list) else [heads]
        self.n_head_parameters = 0
        if gives_features:
            weights = (w for head in self.classification_heads for w in head.parameters())
            self.n_head_parameters = sum(weight.numel() for weight in weights)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute float32 rows, whatever the network computes in."""
        if not self.gives_features:
            return self._probabilities(self.network(x))
        maps = self.network.forward_features(x)
        # The head is run twice up to its last layer: what goes into that is no output of it.
        features = self.network.forward_head(maps, pre_logits=True)
        features = check_features(features, len(x)).float()
        probabilities = self._probabilities(self.network.forward_head(maps))
        return torch.cat([features, probabilities], dim=1)

    def _probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return check_features(logits, len(logits)).float().softmax(dim=1)
