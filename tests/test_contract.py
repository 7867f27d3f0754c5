"""What holds for every method on every task."""

import pytest
import torch
from cases import METHODS, TASKS

from bayesnn import Predictive, decompose, evaluate
from bayesnn.streamed import Streamed
from bayesnn.training import Adam

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{words}")
    for words in ("the ELBO, .* is below", "the fit ended while", "the chains may not show")
]

ALL = pytest.mark.parametrize(
    ("method", "task"),
    [pytest.param(m, t, id=f"{m.name}-{t.name}") for m in METHODS for t in TASKS],
)


def fitted(method, task, dtype=torch.float32, **options):
    return method.fit(task.model(dtype), *task.data(dtype), progress=False, **{**method.options, **options})


@ALL
def test_predicts_every_input_in_the_shape_of_the_targets(method, task):
    x, y = task.data()
    predictive = fitted(method, task)(x)
    assert isinstance(predictive, Predictive)
    assert predictive.batch_shape == (40,)
    assert predictive.event_shape == y.shape[1:]
    assert predictive.num_samples == (1 if method.one_draw else 7)
    assert predictive.log_prob(y).isfinite().all()
    assert predictive.sample((2,)).shape == (2, *y.shape)
    assert all(value == value for value in evaluate(predictive, y).values())


@ALL
def test_total_is_the_sum_of_both_parts(method, task):
    parts = decompose(fitted(method, task)(task.data()[0]))
    assert torch.equal(parts.total, parts.aleatoric + parts.epistemic)
    assert (parts.aleatoric > 0).all()
    assert (parts.epistemic >= 0).all()
    assert bool((parts.epistemic == 0).all()) == method.one_draw


@ALL
def test_same_seed_same_fit_and_two_calls_agree(method, task):
    x, y = task.data()
    first, second = fitted(method, task, seed=3), fitted(method, task, seed=3)
    assert torch.equal(first(x).log_prob(y), first(x).log_prob(y))
    assert torch.equal(first(x).log_prob(y), second(x).log_prob(y))


@ALL
def test_batches_agree_with_the_whole(method, task):
    x, y = task.data(torch.float64)
    posterior = fitted(method, task, torch.float64)
    whole = posterior(x).log_prob(y)
    torch.testing.assert_close(posterior(x.split(7)).log_prob(y), whole)
    torch.testing.assert_close(posterior([(part, None) for part in x.split(9)]).log_prob(y), whole)
    torch.testing.assert_close(posterior(x.numpy()).log_prob(y), whole)
    assert posterior(x).log_prob(y).dtype == torch.float64
    plan = posterior.plan(x, memory="1KB")
    assert plan.num_samples == posterior(x).num_samples
    assert plan.held == (not isinstance(posterior(x, memory="1KB"), Streamed))
    assert plan.block == (len(x) if plan.held else posterior(x, memory="1KB")._block)


@ALL
def test_leaves_network_model_and_random_state_untouched(method, task):
    model = task.model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    posterior = method.fit(model, *task.data(), progress=False, **method.options)
    posterior(task.data()[0])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.num_data is None


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_two_fits_share_nothing(method):
    task = TASKS[3]
    x, y = task.data()
    first = fitted(method, task)
    before = first(x).log_prob(y)
    method.fit(task.model(), x, -y, progress=False, **method.options)
    assert torch.equal(first(x).log_prob(y), before)


@pytest.mark.parametrize("method", [m for m in METHODS if not m.chaotic], ids=lambda method: method.name)
def test_raw_units_change_nothing_but_the_units(method):
    task = TASKS[3]
    x, y = task.data(torch.float64)
    model = task.model(torch.float64)
    here = method.fit(model, x, y, progress=False, **method.options)(x)
    there = method.fit(model, 1000 * x - 7, y / 100 + 3, progress=False, **method.options)(1000 * x - 7)
    torch.testing.assert_close(there.mean, here.mean / 100 + 3, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(there.stddev, here.stddev / 100, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_takes_arrays_frames_data_sets_and_loaders(method):
    import pandas as pd
    from torch.utils.data import DataLoader, TensorDataset

    task = TASKS[3]
    x, y = task.data()
    wanted = fitted(method, task)(x).mean
    frame = pd.DataFrame(x.numpy())
    sources = [
        (x.numpy(), y.numpy()),
        (frame, pd.Series(y.numpy())),
        (TensorDataset(x, y),),
        (DataLoader(TensorDataset(x, y), batch_size=7),),
    ]
    for source in sources:
        posterior = method.fit(task.model(), *source, progress=False, **method.options)
        torch.testing.assert_close(posterior(frame).mean, wanted)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_interrupting_keeps_the_state_reached(method):
    task = TASKS[3]

    def stop(epoch, terms):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="stopped by hand") as told:
        posterior = fitted(method, task, callback=stop)
    assert any("stopped by hand after 3 of" in str(one.message) for one in told)
    ours = [one for one in told if one.category is UserWarning]
    assert {one.filename for one in ours} == {__file__}  # and not a line of the package
    assert posterior.history.interrupted
    assert posterior(task.data()[0]).mean.isfinite().all()


BAD = {
    "nan in x": (lambda x, y: (x.where(x > x.min(), torch.nan), y), "x must be finite.*1 row"),
    "inf in y": (lambda x, y: (x, y.where(y > y.min(), torch.inf)), "y must be finite"),
    "too few targets": (lambda x, y: (x, y[:-1]), "one row per input, N = 40"),
    "transposed": (lambda x, y: (x, y[None]), "Transposed"),
    "one-dimensional x": (lambda x, y: (x[:, 0], y), r"Pass x\[:, None\]"),
    "too many targets": (lambda x, y: (x, torch.stack([y, y], 1)), "need 2 network outputs"),
    "too many features": (lambda x, y: (torch.cat([x, x], 1), y), "network must take inputs"),
    "one row": (lambda x, y: (x[:1], y[:1]), "data must have two rows at least"),
    "no rows": (lambda x, y: (x[:0], y[:0]), "data must have two rows at least"),
}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize(("spoil", "words"), BAD.values(), ids=BAD.keys())
def test_bad_data_get_one_clear_sentence(method, spoil, words):
    task = TASKS[3]
    with pytest.raises(ValueError, match=words):
        method.fit(task.model(), *spoil(*task.data()), progress=False, **method.options)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize(
    ("labels", "words"),
    [(torch.arange(40), r"lie in \[0, 2\]"), (torch.rand(40), "must be integers"), (-torch.ones(40), r"from -1 to -1")],
    ids=["out of range", "fractions", "negative"],
)
def test_bad_labels_get_one_clear_sentence(method, labels, words):
    task = TASKS[0]
    with pytest.raises(ValueError, match=words):
        method.fit(task.model(), task.data()[0], labels, progress=False, **method.options)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_inputs_of_another_width_get_one_clear_sentence(method):
    task = TASKS[3]
    x, _ = task.data()
    posterior = fitted(method, task)
    for other in (x[:, :1], torch.cat([x, x], 1)):
        with pytest.raises(ValueError, match=r"x must look like the training inputs, \(N, 3\); got"):
            posterior(other)


SETTINGS = [
    ({"device": "cuda:7"}, ValueError, "device must be one that is here"),
    ({"device": "gpu"}, ValueError, "device must be one that is here"),
    ({"num_epochs": 0}, ValueError, "num_epochs must be 1 or more"),
    ({"batch_size": 0}, ValueError, "batch_size must be a whole number, 1 or more"),
    ({"learning_rate": -1.0}, ValueError, "learning_rate must be positive"),
    ({"seed": 0.5}, TypeError, "seed must be a whole number"),
    ({"y": None}, TypeError, "targets are missing"),
]


@pytest.mark.parametrize(
    ("method", "options", "kind", "words"),
    [
        pytest.param(method, *setting, id=f"{method.name}-{setting[0]}")
        for method in METHODS
        for setting in SETTINGS
        if not set(setting[0]) & set(method.without)
    ],
)
def test_bad_settings_get_one_clear_sentence(method, options, kind, words):
    task = TASKS[3]
    x, y = task.data()
    with pytest.raises(kind, match=words):
        method.fit(task.model(), **{"x": x, "y": y, "progress": False, **method.options, **options})


BY_ADAM = pytest.mark.parametrize("method", [m for m in METHODS if m.by_adam], ids=lambda method: method.name)


@BY_ADAM
def test_a_loss_that_stops_being_finite_keeps_the_last_finite_state(method, monkeypatch):
    task, steps, honest = TASKS[3], [], Adam.step

    def spoiled(self, *args):
        honest(self, *args)
        steps.append(1)
        if len(steps) == 12:
            self.param_groups[0]["params"][0].data.fill_(torch.nan)

    monkeypatch.setattr(Adam, "step", spoiled)
    with pytest.warns(UserWarning, match="stopped being finite.*Lower learning_rate"):
        posterior = fitted(method, task, num_epochs=30)
    assert posterior(task.data()[0]).mean.isfinite().all()


@BY_ADAM
def test_a_loss_that_is_never_finite_is_an_error(method):
    with pytest.raises(ValueError, match=r"loss must be finite.*Lower learning_rate"):
        fitted(method, TASKS[3], learning_rate=1e30, batch_size=1)
