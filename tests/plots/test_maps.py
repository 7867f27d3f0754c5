"""Maps of the parts over two features, read back against entropies and variances by numpy and scipy."""

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
import torch
from drawn import CLASSES, N
from matplotlib.colors import to_rgb
from torch.distributions import Categorical, Independent, Normal

from bayesnn.plots import COLOURS, decision_map, decision_maps
from bayesnn.predictive import Predictive

DATA = torch.tensor([[0.0, 0.0], [1.0, 2.0], [0.5, 1.0]])
WEIGHTS = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1))
PARTS = ("total", "aleatoric", "epistemic")


def classifier(x):
    return Predictive(Categorical(logits=x @ WEIGHTS))


def regression(x):
    return Predictive(Normal((x @ WEIGHTS)[..., 0], 0.5 + x[:, 0].square()))


def entropies(at):
    probs = scipy.special.softmax(at @ WEIGHTS.numpy(), -1)
    total, aleatoric = scipy.stats.entropy(probs.mean(0), axis=-1), scipy.stats.entropy(probs, axis=-1).mean(0)
    return {"total": total, "aleatoric": aleatoric, "epistemic": total - aleatoric}


def deviations(at):
    aleatoric, epistemic = 0.5 + at[:, 0] ** 2, (at @ WEIGHTS.numpy())[..., 0].std(0)
    return {"total": np.hypot(aleatoric, epistemic), "aleatoric": aleatoric, "epistemic": epistemic}


def grid(resolution, low=(-0.5, -1), high=(1.5, 3)):
    lines = (np.linspace(a, b, resolution) for a, b in zip(low, high, strict=True))
    return np.stack([side.ravel() for side in np.meshgrid(*lines)], 1)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(
    ("posterior", "oracle", "unit"),
    [(classifier, entropies, "nats"), (regression, deviations, "units of y")],
    ids=["classes", "numbers"],
)
def test_a_map_holds_the_part_at_every_point_of_its_grid(posterior, oracle, unit, part):
    ax = decision_map(posterior, DATA, part=part, resolution=7, margin=0.5)
    mesh = ax.collections[0]
    corners = mesh.get_coordinates()
    middles = (corners[1:, 1:] + corners[:-1, :-1]) / 2
    np.testing.assert_allclose(middles.reshape(-1, 2), grid(7), atol=1e-6)
    np.testing.assert_allclose(mesh.get_array().ravel(), oracle(grid(7))[part], rtol=1e-4, atol=1e-6)
    assert mesh.get_clim()[0] == 0
    assert to_rgb(mesh.get_cmap()(1.0)) == to_rgb(COLOURS[part])
    assert ax.figure.axes[1].get_ylabel() == f"{part} ({unit})"


def test_the_posterior_is_asked_once():
    asked = []

    def posterior(x):
        asked.append(tuple(x.shape))
        return classifier(x)

    decision_map(posterior, DATA, resolution=6)
    decision_maps(posterior, DATA, resolution=5)
    assert asked == [(36, 2), (25, 2)]


@pytest.mark.parametrize("posterior", [classifier, regression])
def test_three_maps_stand_beside_each_other_on_one_scale(posterior):
    figure = decision_maps(posterior, DATA, torch.tensor([0, 1, 1]), resolution=5, margin=0.5)
    maps, bars = figure.axes[:3], figure.axes[3:]
    assert [bar.get_ylabel().split()[0] for bar in bars] == list(PARTS)
    oracle = (entropies if posterior is classifier else deviations)(grid(5))
    for ax, part in zip(maps, PARTS, strict=True):
        np.testing.assert_allclose(ax.collections[0].get_array().ravel(), oracle[part], rtol=1e-4, atol=1e-6)
        assert ax.collections[0].get_clim() == pytest.approx((0, oracle["total"].max()))
    figure.canvas.draw()


def test_several_maps_may_share_a_scale():
    assert decision_map(classifier, DATA, resolution=5, largest=1.5).collections[0].get_clim() == (0, 1.5)


def test_the_line_runs_where_the_two_most_probable_classes_are_equal():
    ax = decision_map(classifier, DATA, resolution=60)
    on_line = np.concatenate([path.vertices for drawn in ax.collections[1:] for path in drawn.get_paths()])
    assert len(on_line) > 50
    probs = np.sort(scipy.special.softmax(on_line @ WEIGHTS.numpy(), -1).mean(0), 1)
    assert np.abs(probs[:, -1] - probs[:, -2]).max() < 0.02
    assert {drawn.get_edgecolor()[0][:3].tobytes() for drawn in ax.collections[1:]} == {
        np.array(to_rgb(colour)).tobytes() for colour in ("black", "white")
    }


def test_where_one_class_is_said_everywhere_there_is_no_line():
    sure = decision_map(lambda x: Predictive(Categorical(logits=torch.tensor([1.0, 0]).expand(2, len(x), 2))), DATA)
    assert len(sure.collections) == 1


def test_each_class_has_a_mark_of_its_own_and_numbers_a_shade():
    y = torch.tensor([0, 1, 1])
    ax = decision_map(classifier, DATA, y, resolution=5)
    first, second = ax.collections[-2:]
    np.testing.assert_allclose(first.get_offsets(), DATA[:1])
    np.testing.assert_allclose(second.get_offsets(), DATA[1:])
    assert [first.get_label(), second.get_label()] == ["class 0", "class 1"]
    shades = decision_map(regression, DATA, y.float()[:, None], resolution=5).collections[-1]
    np.testing.assert_allclose(shades.get_array(), y)


def test_a_dozen_classes_have_a_dozen_marks():
    x, labels = torch.randn(24, 2), torch.arange(24) % 12
    many = decision_map(lambda at: Predictive(Categorical(logits=at @ torch.ones(2, 2, 12))), x, labels, resolution=3)
    marks = {(mark.get_paths()[0].vertices.tobytes(), *mark.get_facecolor()[0]) for mark in many.collections[-12:]}
    assert len(marks) == 12


@pytest.mark.parametrize("x", [DATA.int() * 2, DATA.numpy() * 2, DATA.double() * 2], ids=["whole", "array", "double"])
def test_the_grid_lies_around_the_data_whatever_their_kind(x):
    def posterior(at):
        return classifier(at.to(WEIGHTS))

    ax = decision_map(posterior, x, resolution=5, margin=0.5)
    top = np.asarray(x).max(0)
    across = ax.collections[0].get_coordinates()
    middles = (across[1:, 1:] + across[:-1, :-1]) / 2
    np.testing.assert_allclose(middles.reshape(-1, 2), grid(5, -0.5 * top, 1.5 * top), atol=1e-6)


FRAME = pd.DataFrame(DATA.tolist(), columns=["height", "weight"], index=[5, 3, 4])


@pytest.mark.parametrize("x", [DATA.tolist(), DATA.numpy(), FRAME, FRAME.astype("Float64")])
@pytest.mark.parametrize("kind", [list, np.array, lambda y: pd.Series(y, index=[5, 3, 4])])
def test_data_of_all_kinds_have_the_map_of_tensors(x, kind):
    def posterior(at):
        return classifier(at.to(WEIGHTS))

    found, expected = (
        [ax.collections[0].get_array(), *(mark.get_offsets() for mark in ax.collections[-2:])]
        for ax in (
            decision_map(posterior, x, kind([0, 1, 1]), resolution=5),
            decision_map(posterior, DATA, torch.tensor([0, 1, 1]), resolution=5),
        )
    )
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


class Named:
    columns = ("height", "weight")

    def __call__(self, x):
        return classifier(x.to(WEIGHTS))


@pytest.mark.parametrize(
    ("posterior", "x", "names"),
    [
        (Named(), FRAME, ["height", "weight"]),
        (Named(), DATA, ["height", "weight"]),
        (Named().__call__, FRAME, ["height", "weight"]),
        (classifier, DATA, ["first feature", "second feature"]),
    ],
    ids=["both", "of the fit", "of the data", "none"],
)
def test_axes_bear_the_names_of_the_columns(posterior, x, names):
    for ax in (decision_map(posterior, x, resolution=3), *decision_maps(posterior, x, resolution=3).axes[:3]):
        assert [ax.get_xlabel(), ax.get_ylabel()] == names


def test_columns_in_another_order_are_refused():
    with pytest.raises(ValueError, match="columns of the fit in their order, 'height', 'weight'; got them as 'weight'"):
        decision_map(Named(), FRAME[["weight", "height"]])


def test_a_feature_that_never_changes_has_a_map_too():
    ax = decision_map(classifier, torch.tensor([[0.0, 3.0], [1.0, 3.0]]), resolution=5)
    up = ax.collections[0].get_coordinates()[:, 0, 1]
    np.testing.assert_allclose((up[1:] + up[:-1]) / 2, np.linspace(2.5, 3.5, 5))


SEVERAL = Predictive(Independent(Normal(torch.zeros(2, N, 2), 1.0), 1))


@pytest.mark.parametrize("ask", [decision_map, decision_maps])
@pytest.mark.parametrize(
    ("arguments", "options", "kind", "words"),
    [
        ((CLASSES, DATA), {}, TypeError, "pass the posterior, not predictions"),
        ((classifier, torch.zeros(3, 4)), {}, ValueError, r"two features, \(N, 2\); got \(3, 4\)"),
        ((classifier, torch.zeros(3, 2, 2)), {}, ValueError, r"two features, \(N, 2\); got \(3, 2, 2\)"),
        ((classifier, torch.zeros(0, 2)), {}, ValueError, r"two features, \(N, 2\); got \(0, 2\)"),
        ((classifier, DATA, torch.zeros(2)), {}, ValueError, r"one target for each of the 3 rows of x; got \(2,\)"),
        (
            (classifier, DATA, torch.tensor([0.5, 1, 0])),
            {},
            ValueError,
            "predicts classes.*whole numbers; got fractions",
        ),
        ((classifier, DATA), {"resolution": 1}, ValueError, "resolution must be 2 or more; got 1"),
        ((lambda x: SEVERAL, DATA), {}, ValueError, "draws one target; the predictive has 2"),
        ((lambda x: x, DATA), {}, TypeError, "needs a Predictive"),
    ],
)
def test_what_does_not_fit_gets_one_clear_sentence(ask, arguments, options, kind, words):
    with pytest.raises(kind, match=words):
        ask(*arguments, **options)


def test_a_part_of_another_name_is_refused():
    with pytest.raises(ValueError, match='part must be "total", "aleatoric" or "epistemic"; got \'noise\''):
        decision_map(classifier, DATA, part="noise")
