"""The optimisation loop against Adam's closed forms; what is kept when it is stopped or goes wrong."""

import math

import pytest
import torch

from bayesnn.training import Adam, History, Minibatches, optimise


def leaf(value=0.0):
    return torch.tensor([value], dtype=torch.float64, requires_grad=True)


def rows(num_rows=7):
    return torch.arange(float(num_rows), dtype=torch.float64)


def slope(weight):
    """A loss whose gradient is 1 everywhere."""
    return lambda step, batch: {"loss": weight.sum()}


def fit(loss, weight, *, batch_size=7, num_epochs=4, learning_rate=0.1, **options):
    batches = Minibatches([rows()], batch_size)
    options = {"progress": False} | options
    return optimise(loss, [weight], batches, num_epochs=num_epochs, learning_rate=learning_rate, **options)


# Minibatches


@pytest.mark.parametrize("at_once", [0, 1 << 20], ids=["batch by batch", "at once"])
@pytest.mark.parametrize(("size", "lengths"), [(1, [1] * 7), (3, [3, 3, 1]), (7, [7]), (100, [7])])
def test_every_row_comes_once_with_its_own(size, lengths, at_once, monkeypatch):
    monkeypatch.setattr("bayesnn.training._AT_ONCE", at_once)
    batches = Minibatches([rows(), -rows()], size)
    seen = list(batches)
    assert [len(x) for x, _ in seen] == lengths
    assert len(batches) == len(lengths)
    assert all(torch.equal(x, -y) for x, y in seen)
    assert torch.equal(torch.cat([x for x, _ in seen]).sort().values, rows())


def test_batches_are_shuffled_anew_and_one_batch_is_not():
    several, whole = Minibatches([rows(100)], 10), Minibatches([rows(100)], 100)
    first, second = (torch.cat([x for (x,) in several]) for _ in range(2))
    assert not torch.equal(first, second)
    assert all(torch.equal(x, rows(100)) for (x,) in whole)


@pytest.mark.parametrize("seeds", [(), (4, 5)], ids=["one order", "two orders"])
def test_batches_are_the_same_whether_rows_are_ordered_at_once(seeds, monkeypatch):
    seen = []
    for at_once in (0, 1 << 20):
        monkeypatch.setattr("bayesnn.training._AT_ONCE", at_once)
        torch.manual_seed(3)
        seen += [list(Minibatches([rows(10), rows(30).view(10, 3)], 4, seeds))]
    assert [[part.shape for part in batch] for batch in seen[0]] == [
        [part.shape for part in batch] for batch in seen[1]
    ]
    pairs = zip(*seen, strict=True)
    assert all(torch.equal(one, other) for pair in pairs for one, other in zip(*pair, strict=True))


@pytest.mark.parametrize("at_once", [0, 1 << 20], ids=["batch by batch", "at once"])
@pytest.mark.parametrize("size", [2, 6])
def test_a_batch_may_be_changed_in_place_by_a_network(size, at_once, monkeypatch):
    monkeypatch.setattr("bayesnn.training._AT_ONCE", at_once)
    weight, data = leaf(2.0), rows(6)
    for (x,) in Minibatches([data], size):
        x += weight
        x.sum().backward()
    assert weight.grad.item() == 6
    assert torch.equal(data, rows(6))


@pytest.mark.parametrize("size", [0, -3])
def test_impossible_batch_sizes_are_refused(size):
    with pytest.raises(ValueError, match=f"batch_size must be a whole number, 1 or more; got {size}"):
        Minibatches([rows()], size)


# The loop


def test_steps_follow_half_a_cosine_to_a_thousandth():
    # Under a constant gradient each step of Adam is the learning rate of that step.
    weight, num_steps = leaf(), 12
    fit(slope(weight), weight, batch_size=3, num_epochs=4)
    rates = [0.001 + 0.999 * (1 + math.cos(math.pi * t / num_steps)) / 2 for t in range(num_steps)]
    assert weight.item() == pytest.approx(-0.1 * sum(rates), rel=1e-6)


def test_a_convex_loss_reaches_its_minimum():
    weight = leaf()
    fit(lambda step, batch: {"loss": (weight - 3).square().sum()}, weight, num_epochs=500)
    assert weight.item() == pytest.approx(3, abs=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_history_holds_means_over_rows_not_over_batches(batch_size):
    weight = leaf()
    history = fit(lambda step, batch: {"loss": weight.sum() * 0, "fit": batch[0].mean()}, weight, batch_size=batch_size)
    assert history["fit"] == pytest.approx([3.0] * 4)
    assert history["loss"] == [0.0] * 4
    assert not history.interrupted
    assert history.seconds > 0


def test_callback_and_loss_are_told_where_they_are():
    weight, calls, steps = leaf(), [], []

    def loss(step, batch):
        steps.append(step)
        return {"loss": weight.sum()}

    history = fit(loss, weight, batch_size=3, callback=lambda epoch, means: calls.append((epoch, means)))
    assert steps == list(range(12))
    assert calls == list(enumerate(history.epochs))


@pytest.mark.parametrize("progress", [False, True])
def test_the_bar_shows_when_asked_to(progress, capfd):
    weight = leaf()
    fit(slope(weight), weight, progress=progress, label="my fit")
    out, err = capfd.readouterr()
    assert out == ""
    assert ("my fit" in err) is progress
    assert (err == "") is not progress


def test_terms_are_read_by_name():
    assert History([{"loss": 2.0}, {"loss": 1.0}], 0.0, False)["loss"] == [2.0, 1.0]


# Stopped, or gone wrong


def test_stopping_by_hand_keeps_the_state_reached():
    weight, reached = leaf(), []

    def callback(epoch, means):
        reached.append(weight.item())
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="stopped by hand after 3 of 9 epochs; the state reached is kept"):
        history = fit(slope(weight), weight, num_epochs=9, callback=callback)
    assert history.interrupted
    assert len(history.epochs) == 3
    assert weight.item() == reached[-1] != 0


def test_stopping_within_an_epoch_keeps_its_steps():
    weight = leaf()

    def loss(step, batch):
        if step == 4:
            raise KeyboardInterrupt
        return {"loss": weight.sum()}

    with pytest.warns(UserWarning, match="stopped by hand after 1 of 4 epochs"):
        history = fit(loss, weight, batch_size=3)
    assert len(history.epochs) == 1
    rates = [0.001 + 0.999 * (1 + math.cos(math.pi * t / 12)) / 2 for t in range(4)]
    assert weight.item() == pytest.approx(-0.1 * sum(rates), rel=1e-6)


def test_another_error_comes_through():
    def callback(epoch, means):
        raise ZeroDivisionError("mine")

    weight = leaf()
    with pytest.raises(ZeroDivisionError, match="mine"):
        fit(slope(weight), weight, callback=callback)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_stops_being_finite_gives_back_the_last_finite_state(bad):
    weight, reached = leaf(), []

    def loss(step, batch):
        return {"loss": weight.sum() * (bad if step == 5 else 1)}

    with pytest.warns(
        UserWarning, match=r"stopped being finite after 1 of 4 epochs; .* Lower learning_rate \(now 0.1\)"
    ):
        history = fit(loss, weight, batch_size=3, callback=lambda epoch, means: reached.append(weight.item()))
    assert len(history.epochs) == 1
    assert not history.interrupted
    assert weight.item() == reached[-1] != 0


def test_the_last_finite_state_of_a_long_fit_is_that_of_its_history():
    weight, reached = leaf(), []

    def loss(step, batch):
        return {"loss": weight.sum() * (math.nan if step == 390 else 1)}

    with pytest.warns(UserWarning, match="stopped being finite after 390 of 500"):
        history = fit(loss, weight, num_epochs=500, callback=lambda epoch, means: reached.append(weight.item()))
    assert weight.item() == reached[len(history.epochs) - 1]


def test_a_loss_that_was_never_finite_is_refused_and_changes_nothing():
    weight = leaf(2.0)
    with pytest.raises(ValueError, match=r"loss must be finite; in the first epoch it was not\. Lower learning_rate"):
        fit(lambda step, batch: {"loss": weight.sum() * math.nan}, weight)
    assert weight.item() == 2


def test_a_gradient_that_fails_in_the_last_step_gives_back_the_last_finite_state():
    weight = leaf(1.0)

    def loss(step, batch):  # the square root of 0 is finite, its slope is not
        return {"loss": ((weight * 0).sqrt() if step == 3 else weight).sum()}

    with pytest.warns(UserWarning, match="finite"):
        fit(loss, weight)
    assert weight.isfinite().all()


@pytest.mark.parametrize("num_epochs", [0, -1])
def test_impossible_numbers_of_epochs_are_refused(num_epochs):
    weight = leaf()
    with pytest.raises(ValueError, match=f"num_epochs must be 1 or more; got {num_epochs}"):
        fit(slope(weight), weight, num_epochs=num_epochs)


@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf])
def test_impossible_learning_rates_are_refused(rate):
    weight = leaf()
    with pytest.raises(ValueError, match=f"learning_rate must be positive; got {rate}"):
        fit(slope(weight), weight, learning_rate=rate)


def test_another_optimiser_with_a_constant_step():
    """Plain descent on a parabola: each step takes the same share of the way."""
    weight = torch.tensor([8.0], dtype=torch.float64, requires_grad=True)
    seen = []
    optimise(
        lambda step, batch: {"loss": weight.square().sum()},
        [weight],
        Minibatches([torch.zeros(4)], 4),
        num_epochs=3,
        learning_rate=0.25,
        progress=False,
        callback=lambda epoch, terms: seen.append(float(weight.detach())),
        method=torch.optim.SGD,
        final_rate=1.0,
    )
    assert seen == [4.0, 2.0, 1.0]


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_adam_moves_as_torchs_own(dtype, number):
    """Over steps of several sizes, leaves of several shapes, and one that has a gradient only now and then."""
    torch.manual_seed(0)
    ours = [torch.randn(shape, dtype=dtype) for shape in ((4, 3), (5,), (2,))[:number]]
    theirs = [value.clone() for value in ours]
    moved, expected = Adam(ours, lr=0.1), torch.optim.Adam(theirs, lr=0.1, fused=True)
    for step in range(5):
        for optimiser, leaves in ((moved, ours), (expected, theirs)):
            torch.manual_seed(step)
            optimiser.zero_grad()
            for leaf in leaves if step % 2 else leaves[:2]:
                leaf.grad = torch.randn_like(leaf)
            optimiser.param_groups[0]["lr"] = 0.1 / (1 + step)
            optimiser.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    moved.zero_grad()
    moved.step()  # nothing has a gradient: nothing moves
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0)


def test_adam_of_nothing_moves_nothing():
    """A guide may have no parameters."""
    moved = Adam([], lr=0.1)
    moved.zero_grad()
    moved.step()
