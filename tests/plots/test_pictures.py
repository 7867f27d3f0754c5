"""The sheet of pictures, read back from its artists."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from drawn import CLASSES, PICTURES, N, S
from matplotlib.colors import to_rgb
from torch.distributions import Bernoulli, Categorical, Independent

from bayesnn.plots import COLOURS, uncertain_pictures
from bayesnn.predictive import Predictive
from bayesnn.uncertainty import decompose


def scaled(picture):
    picture = picture.double().numpy()
    return (picture - picture.min()) / (picture.max() - picture.min())


@pytest.mark.parametrize("num_pictures", [1, 5, 7, 12, 30])
def test_the_most_uncertain_pictures_come_first(num_pictures):
    figure = uncertain_pictures(PICTURES, CLASSES, num_pictures=num_pictures)
    shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]
    order = np.argsort(-CLASSES.entropy().numpy())[:num_pictures]
    assert len(shown) == min(num_pictures, N)
    assert np.stack(shown) == pytest.approx(np.stack([scaled(PICTURES[i]) for i in order]), abs=1e-12)
    assert all(ax.images[0].get_clim() == (0, 1) for ax in figure.axes if ax.images)
    figure.canvas.draw()
    assert plt.get_fignums() == []


def test_pictures_carry_what_was_said_what_they_are_and_both_parts():
    truth = [f"{i}" for i in range(N)]
    figure = uncertain_pictures(PICTURES, CLASSES, num_pictures=8, truth=truth, classes=("cat", "dog", "cow"))
    order = np.argsort(-CLASSES.entropy().numpy())[:8]
    guesses = CLASSES.probs.argmax(1).numpy()
    titles = [ax.get_title() for ax in figure.axes if ax.images]
    assert titles == [f"said {('cat', 'dog', 'cow')[guesses[i]]}, is {i}" for i in order]
    parts = decompose(CLASSES)
    bars = [ax for ax in figure.axes if ax.patches]
    for ax, i in zip(bars, order, strict=True):
        aleatoric, epistemic = ax.patches
        assert aleatoric.get_width() == pytest.approx(parts.aleatoric[i].item())
        assert epistemic.get_x() == pytest.approx(aleatoric.get_width())
        assert epistemic.get_width() == pytest.approx(parts.epistemic[i].item())
        assert to_rgb(aleatoric.get_facecolor()[:3]) == to_rgb(COLOURS["aleatoric"])
        assert to_rgb(epistemic.get_facecolor()[:3]) == to_rgb(COLOURS["epistemic"])
        assert ax.texts[0].get_text().endswith("nats")
    assert len({ax.get_xlim() for ax in bars}) == 1  # one scale for all bars
    ends = [ax.patches[1].get_x() + ax.patches[1].get_width() for ax in bars]
    assert 1.05 * max(ends) < bars[0].get_xlim()[1] < 1.3 * max(ends)  # and a gap to the neighbour's


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_may_have_channels(channels):
    pictures = 3 * torch.rand(N, channels, 4, 5) + torch.arange(channels)[:, None, None]
    figure = uncertain_pictures(pictures, CLASSES, num_pictures=1)
    first = np.moveaxis(scaled(pictures[CLASSES.entropy().argmax()]), 0, -1).squeeze()
    assert np.asarray(figure.axes[0].images[0].get_array()) == pytest.approx(first, abs=1e-12)
    figure.canvas.draw()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_pictures_of_one_grey_and_of_whole_numbers_are_shown(dtype):
    pictures = torch.full((N, 4, 4), 7, dtype=dtype)
    pictures[::2, 1, 2] = 250
    figure = uncertain_pictures(pictures, CLASSES, num_pictures=6)
    shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]
    peak = np.zeros((4, 4))
    peak[1, 2] = 1
    order = np.argsort(-CLASSES.entropy().numpy())[:6]
    assert set(order % 2) == {0, 1}
    expected = [peak if i % 2 == 0 else 0 * peak for i in order]
    assert np.array_equal(np.stack(shown), np.stack(expected))
    figure.canvas.draw()


def test_pictures_nobody_is_uncertain_of_are_shown_too():
    sure = Predictive(Categorical(logits=torch.tensor([1000.0, 0.0]).expand(S, N, 2)))
    figure = uncertain_pictures(PICTURES, sure, num_pictures=2)
    assert sum(len(ax.images) for ax in figure.axes) == 2


@pytest.mark.parametrize("kind", [np.array, pd.Series, tuple])
def test_words_may_be_arrays_and_series_and_pictures_lists(kind):
    truth, names = [f"{i}" for i in range(N)], ["cat", "dog", "cow", "a fourth"]
    words, told = kind(truth), kind(names)
    figure = uncertain_pictures(PICTURES.tolist(), CLASSES, num_pictures=1, truth=words, classes=told)
    first = int(CLASSES.entropy().argmax())
    assert figure.axes[0].get_title() == f"said {names[int(CLASSES.mode[first])]}, is {first}"
    assert np.asarray(figure.axes[0].images[0].get_array()) == pytest.approx(scaled(PICTURES[first]), abs=1e-6)


def test_classes_without_names_have_numbers():
    titles = [uncertain_pictures(PICTURES, CLASSES, num_pictures=1, classes=none).axes[0].get_title()
              for none in (None, (), np.array([]))]  # fmt: skip
    assert titles == [f"said {int(CLASSES.mode[CLASSES.entropy().argmax()])}"] * 3


@pytest.mark.parametrize("names", [["cat"], np.array(["cat", "dog"])], ids=len)
def test_too_few_names_of_classes_are_refused(names):
    with pytest.raises(ValueError, match=f"name each of the 3 classes that are predicted; got {len(names)}"):
        uncertain_pictures(PICTURES, CLASSES, classes=names)


@pytest.mark.parametrize(
    ("pictures", "options"),
    [(PICTURES[:-3], {}), (PICTURES.flatten(1), {}), (PICTURES, {"num_pictures": 0}), (PICTURES, {"truth": ["is 1"]})],
    ids=["other pictures", "flat", "none", "truth of one"],
)
def test_pictures_that_cannot_be_shown_get_one_clear_sentence(pictures, options):
    with pytest.raises(ValueError, match=r"picture|truth"):
        uncertain_pictures(pictures, CLASSES, **options)


@pytest.mark.parametrize("number", [1, 3])
def test_pictures_of_several_labels_get_one_clear_sentence(number):
    labels = Predictive(Independent(Bernoulli(logits=torch.zeros(S, N, number)), 1))
    with pytest.raises(
        ValueError, match=rf"shows one label, .*; the predictive has {number} of them.*Write predictive.target"
    ):
        uncertain_pictures(PICTURES, labels)
