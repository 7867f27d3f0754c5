"""Detection: does an uncertainty score tell two kinds of input apart?"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["auroc"]


def auroc(score: Tensor, positive: Tensor) -> Tensor:
    """Area under the receiver operating characteristic: the chance that a positive scores higher than a negative.

    Args:
        score: Uncertainty ``(N,)``; ties count one half.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean.

    Returns:
        A scalar between 0 and 1; NaN where all inputs are of one kind.
    """
    positive = positive.bool()
    if bool(positive.all()) or not bool(positive.any()):
        return torch.tensor(float("nan"), dtype=torch.float64)
    # Imported here: importing scikit-learn changes the process's warning filters, importing bayesnn must not.
    from sklearn.metrics import roc_auc_score

    area = roc_auc_score(positive.cpu().numpy(), score.detach().cpu().double().numpy())
    return torch.tensor(float(area), dtype=torch.float64)
