"""Maps and scatters of the two parts, read back against the parts themselves."""

import numpy as np
import pytest
import torch
from drawn import CLASSES, REALS, N
from torch.distributions import Categorical, Independent, Normal

from bayesnn.plots import aleatoric_epistemic, decision_map
from bayesnn.predictive import Predictive
from bayesnn.uncertainty import decompose

DATA = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.5, 1.0]])
WEIGHTS = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))


def classifier(x):
    return Predictive(Categorical(logits=x @ WEIGHTS))


def regression(x):
    return Predictive(Normal((x @ WEIGHTS)[..., 0], 0.5 + x[:, 0].square()))


@pytest.mark.parametrize("part", ["total", "aleatoric", "epistemic"])
@pytest.mark.parametrize("posterior", [classifier, regression])
def test_a_map_holds_the_part_at_every_point_of_its_grid(posterior, part):
    ax = decision_map(posterior, DATA, part=part, resolution=7, margin=0.5)
    mesh = ax.collections[0]
    across, up = np.meshgrid(np.linspace(-0.5, 1.5, 7), np.linspace(-1, 3, 7))
    at = torch.tensor(np.stack([across.ravel(), up.ravel()], 1)).float()
    expected = getattr(decompose(posterior(at)), part)
    expected = expected if posterior is classifier else expected.sqrt()
    np.testing.assert_allclose(mesh.get_array().ravel(), expected.numpy(), rtol=1e-4, atol=1e-6)
    assert mesh.get_clim()[0] == 0
    assert ax.figure.axes[1].get_ylabel() == f"{part} ({'nats' if posterior is classifier else 'units of y'})"


def test_several_maps_may_share_a_scale():
    assert decision_map(classifier, DATA, resolution=5, largest=1.5).collections[0].get_clim() == (0, 1.5)


def test_each_class_has_a_mark_of_its_own_and_numbers_a_shade():
    y = torch.tensor([0, 1, 1])
    ax = decision_map(classifier, DATA, y, resolution=5)
    first, second = ax.collections[-2:]
    np.testing.assert_allclose(first.get_offsets(), DATA[:1])
    np.testing.assert_allclose(second.get_offsets(), DATA[1:])
    shades = decision_map(regression, DATA, y.float(), resolution=5).collections[-1]
    np.testing.assert_allclose(shades.get_array(), y)


def test_groups_are_drawn_at_their_parts():
    groups = {"known": CLASSES, "other": CLASSES[:5]}
    ax = aleatoric_epistemic(groups)
    for points, (name, predictive) in zip(ax.collections, groups.items(), strict=True):
        parts = decompose(predictive)
        np.testing.assert_allclose(points.get_offsets(), torch.stack([parts.aleatoric, parts.epistemic], 1), rtol=1e-6)
        assert points.get_label() == name
    reals = aleatoric_epistemic(REALS)
    parts = decompose(REALS)
    deviations = torch.stack([parts.aleatoric, parts.epistemic], 1).sqrt()
    np.testing.assert_allclose(reals.collections[0].get_offsets(), deviations)
    assert reals.get_xlabel() == "aleatoric (units of y)"
    assert reals.get_legend() is None


SEVERAL = Predictive(Independent(Normal(torch.zeros(2, N, 2), 1.0), 1))


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda: decision_map(CLASSES, DATA), TypeError, "pass the posterior, not predictions"),
        (lambda: decision_map(classifier, DATA, part="noise"), ValueError, 'part must be "total"'),
        (lambda: decision_map(classifier, torch.zeros(3, 4)), ValueError, r"two features, \(N, 2\); got \(3, 4\)"),
        (
            lambda: decision_map(classifier, DATA, torch.zeros(2), resolution=3),
            ValueError,
            "one target for each",
        ),
        (lambda: decision_map(lambda x: SEVERAL, DATA, resolution=3), ValueError, "draws one target"),
        (lambda: decision_map(lambda x: x, DATA, resolution=3), TypeError, "needs a Predictive"),
        (lambda: aleatoric_epistemic({"a": CLASSES, "b": REALS}), ValueError, "all of classes or all of real numbers"),
        (lambda: aleatoric_epistemic(SEVERAL), ValueError, "all groups must be of one target"),
        (lambda: aleatoric_epistemic({}), ValueError, "one group at least"),
        (lambda: aleatoric_epistemic({"a": DATA}), TypeError, "needs a Predictive"),
    ],
)
def test_what_does_not_fit_gets_one_clear_sentence(ask, kind, words):
    with pytest.raises(kind, match=words):
        ask()
