"""A pretrained trunk with a new head: the models of the text and image chapters, short enough to read."""

import torch
from torch import nn


def mean_pool(hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    """Mean of the token vectors that are not padding.

    Args:
        hidden: [batch, tokens, width].
        attention_mask: [batch, tokens], 1 for a token, 0 for padding.

    Returns:
        Tensor: [batch, width]. Adding padding does not change it.

    Source: Reimers and Gurevych (2019), Sentence-BERT, section 3.

    >>> hidden = torch.tensor([[[2.0], [4.0], [99.0]]])
    >>> mean_pool(hidden, torch.tensor([[1, 1, 0]])).item()
    3.0
    """
    mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


class MeanPool(nn.Module):
    """:func:`mean_pool` as a module, so that its output can be found, watched and stored."""

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return mean_pool(hidden, attention_mask)


class TextClassifier(nn.Module):
    """Encoder, mean pooling, dropout, one linear layer.

    Args:
        trunk: an encoder of transformers, called with ``input_ids`` and ``attention_mask``.
        classes: number of outputs.
        dropout: on the pooled vector, while the head is trained.

    Shapes: ``input_ids`` [batch, tokens] -> logits [batch, classes].
    """

    def __init__(self, trunk: nn.Module, classes: int, dropout: float = 0.1):
        super().__init__()
        self.trunk = trunk
        self.pool = MeanPool()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.config.hidden_size, classes)

    def features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """What the head sees: one vector per text, [batch, width]."""
        hidden = self.trunk(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.pool(hidden, attention_mask)

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """From pooled vectors [batch, width] to logits [batch, classes]."""
        return self.head(self.dropout(features))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.classify(self.features(input_ids, attention_mask))


class TokenTagger(TextClassifier):
    """The same without pooling, for every token: ``input_ids`` [batch, tokens] -> logits [batch, tokens, tags]."""

    def features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """One vector per token, [batch, tokens, width]."""
        return self.trunk(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


class ImageClassifier(nn.Module):
    """Convolutional trunk, global average pooling, dropout, one linear layer.

    Args:
        trunk: a ResNet of transformers; its ``pooler_output`` is the average over all positions.
        classes: number of outputs.
        dropout: on the pooled vector, while the head is trained.

    Shapes: ``input`` [batch, 3, height, width] -> logits [batch, classes].
    """

    def __init__(self, trunk: nn.Module, classes: int, dropout: float = 0.1):
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.config.hidden_sizes[-1], classes)

    def features(self, input: torch.Tensor) -> torch.Tensor:
        """What the head sees: one vector per image, [batch, width]."""
        return self.trunk(input).pooler_output.flatten(1)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return self.head(self.dropout(self.features(input)))


def init_head(head: nn.Linear, seed: int) -> None:
    """Initialise a new head from its own generator, so that nothing drawn before or after can change it (P23).

    Normal with standard deviation 0.02 (as in BERT), bias 0: the first logits are near 0, so the first loss is near
    the logarithm of the number of classes.

    >>> a, b = nn.Linear(4, 2), nn.Linear(4, 2)
    >>> init_head(a, seed=1); _ = torch.rand(3); init_head(b, seed=1)
    >>> torch.equal(a.weight, b.weight)
    True
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * 0.02)
        head.bias.zero_()
