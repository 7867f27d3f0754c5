"""A third task: does a method tell inputs it knows nothing of from inputs that are ambiguous in themselves?"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from bayesnn.detected import NUM_BOOTSTRAP, Detection, Found, detection
from bayesnn.predictive import Predictive
from bayesnn.tasks import pairs, told
from bayesnn.uncertainty import expected_entropy, mutual_information

__all__ = ["unknown_from_ambiguous"]


def unknown_from_ambiguous(
    unknown: Predictive | Iterable[Predictive],
    ambiguous: Predictive | Iterable[Predictive],
    *,
    num_bootstrap: int = NUM_BOOTSTRAP,
) -> Detection:
    """Do the two parts of the uncertainty tell the unknown from the ambiguous?

    Both kinds of input are hard, and their total uncertainty may well be the same. If the parts mean what they say, the
    epistemic one is large for what was never trained on, and the aleatoric one for what is a coin toss in itself.

    Args:
        unknown: Predictions for N inputs from another world, such as a held-out class; or a list of those of several
            fits, from other seeds, for the same inputs.
        ambiguous: Predictions of the same posterior for M inputs whose label is a matter of chance, such as
            ``datasets.with_ambiguous(...).x_ambiguous``, of a posterior that was trained on such; or a list likewise.
        num_bootstrap: Resamples of the inputs behind the intervals, 20 or more; 0 for none.

    Returns:
        How well three scores find the unknown: ``epistemic``, the epistemic part; ``epistemic_less_aleatoric``, the
        difference of the parts, in nats; ``epistemic_share``, the epistemic part over the total. Of several fits the
        mean and the standard deviation over them, and the interval of the mean of these fits over other inputs.

    Raises:
        TypeError: If they are no predictives.
        NotImplementedError: If the targets are real.
        ValueError: If the two are not of one posterior, or the fits not of the same inputs.

    References:
        Mukhoti et al. (2021), Deep Deterministic Uncertainty: A Simple Baseline, arXiv:2102.11582, for the question;
        Wimmer et al. (2023), arXiv:2209.03302, for doubts about the answer.

    Example:
        >>> disagree, coin = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]), torch.full((2, 1, 2), 0.5)
        >>> unknown, ambiguous = (Predictive(torch.distributions.Categorical(probs)) for probs in (disagree, coin))
        >>> unknown_from_ambiguous(unknown, ambiguous, num_bootstrap=0).auroc
        {'epistemic': 1.0, 'epistemic_less_aleatoric': 1.0, 'epistemic_share': 1.0}
    """
    return detection("unknown, not ambiguous", [_parts(*pair) for pair in pairs(unknown, ambiguous)], num_bootstrap)


def _parts(unknown: Predictive, ambiguous: Predictive) -> Found:
    if not (unknown.has_enumerate_support and ambiguous.has_enumerate_support):
        raise NotImplementedError(
            "what is ambiguous is asked of classes; these targets are real. Write variance_decomposition for them."
        )
    if _classes(unknown) != _classes(ambiguous):
        raise ValueError(f"unknown and ambiguous must be of one posterior; got {told(unknown)} and {told(ambiguous)}.")
    epistemic = torch.cat([mutual_information(unknown), mutual_information(ambiguous).to(unknown.device)])
    aleatoric = torch.cat([expected_entropy(unknown), expected_entropy(ambiguous).to(unknown.device)])
    total = (epistemic + aleatoric).clamp_min(1e-12)  # all but certain: no share to speak of
    by_score = {
        "epistemic": epistemic,
        "epistemic_less_aleatoric": epistemic - aleatoric,
        "epistemic_share": epistemic / total,
    }
    whole = {name: total.clamp_min(1) for name in by_score} | {"epistemic_share": 1 / total}
    return Found(by_score, torch.arange(len(epistemic)) < len(unknown), whole)


def _classes(predictive: Predictive) -> tuple[int, ...]:
    return tuple(predictive.log_probs.shape[1:])
