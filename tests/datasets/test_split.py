"""The split itself: what it says, and taking a class out."""

import torch

from bayesnn.datasets import Split
from bayesnn.datasets.split import apart


def test_repr_tells_every_part_that_is_there():
    x, y = torch.zeros(5, 3, 2), torch.zeros(5)
    assert repr(Split("plain", x, y, x[:2], y[:2])) == "Split(plain: 5 train, 2 test; inputs (3, 2), real targets)"
    full = Split("full", x, y.long(), x[:2], y[:2].long(), ("a", "b"), x[:4], (), x[:3])
    assert repr(full) == "Split(full: 5 train, 2 test, 4 out-of-distribution, 3 ambiguous; inputs (3, 2), 2 classes)"


def test_what_not_every_set_has_is_empty_by_default():
    x = torch.zeros(1, 1)
    split = Split("plain", x, x[0], x, x[0])
    assert (split.classes, split.x_ood, split.features, split.x_ambiguous) == ((), None, (), None)


def test_a_class_taken_out_leaves_the_others_in_order():
    inside, labels, known = apart(torch.tensor([2, 0, 3, 1, 2]), 2)
    assert inside.tolist() == [False, True, True, True, False]
    assert labels.tolist() == [0, 2, 1]
    assert known == [0, 1, 3]
