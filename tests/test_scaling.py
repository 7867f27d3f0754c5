"""Scaling of inputs against scikit-learn's."""

import torch
from sklearn.preprocessing import StandardScaler

from bayesnn.scaling import input_scaling


def test_columns_are_scaled_as_by_scikit_learn():
    x = torch.randn(30, 4, dtype=torch.float64) * torch.tensor([1.0, 100.0, 0.01, 0.0]) + 7
    loc, scale = input_scaling(x)
    torch.testing.assert_close((x - loc) / scale, torch.tensor(StandardScaler().fit_transform(x.numpy())))


def test_pictures_have_one_scale_and_keep_their_zero():
    x = torch.rand(10, 8, 8)
    loc, scale = input_scaling(x)
    assert float(loc) == 0
    torch.testing.assert_close((x / scale).square().mean(), torch.tensor(1.0))
    assert float(input_scaling(torch.zeros(3, 2, 2))[1]) == 1
