"""Temperatures against closed forms, grids by scipy, torch's own mixture and the Fisher information."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    Laplace,
    MixtureSameFamily,
    Normal,
    Poisson,
    StudentT,
)

from bayesnn.conformal import conformal_intervals
from bayesnn.members import mapped, unpack
from bayesnn.predictive import Predictive
from bayesnn.recalibration import temperature_scaled, tempered
from bayesnn.uncertainty import decompose

S, N, C, D = 4, 200, 3, 2
ROWS = torch.arange(N)[:, None]


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def table(predictive):
    """A posterior whose input is the number of a row."""
    return lambda x: predictive[x[:, 0].long()]


LOGITS = 3 * random(1, N, C) + 2 * random(S, N, C, seed=1)
YES = 3 * random(S, N, D)
LABELS = (LOGITS.mean(0) / 3 + random(N, C, seed=2)).argmax(1)
YES_OR_NO = (YES.mean(0) + random(N, D, seed=3) > 0).double()
LOC, SCALE, TARGETS = random(S, N), 0.3 + random(S, N, seed=1).square(), 2 * random(N, seed=2)
DEGREES = torch.tensor(4.0, dtype=torch.float64)
CASES = {
    "classes": (Categorical(logits=LOGITS), LABELS),
    "yes or no": (Bernoulli(logits=YES[..., 0]), YES_OR_NO[:, 0]),
    "labels": (Independent(Bernoulli(logits=YES), 1), YES_OR_NO),
    "normal": (Normal(LOC, SCALE), TARGETS),
    "student-t": (StudentT(DEGREES, LOC, SCALE), TARGETS),
    "laplace": (Laplace(LOC, SCALE), TARGETS),
    "vectors": (Independent(Normal(random(S, N, D), SCALE[..., None]), 1), 2 * random(N, D, seed=5)),
}
GRID = np.geomspace(0.2, 20, 500)


def log_mean(values):
    return scipy.special.logsumexp(values, axis=0) - np.log(len(values))


def nll(name, temperature, mean=True):
    """Mean (or each row's) negative log-likelihood of the mixture of tempered members, by scipy."""
    y = CASES[name][1].numpy()
    if name == "classes":
        log_probs = scipy.special.log_softmax(LOGITS.numpy() / temperature, -1)
        each = -log_mean(log_probs[:, np.arange(N), y])
        return each.mean() if mean else each
    if name in ("yes or no", "labels"):
        sign, logits = (2 * y - 1, YES.numpy()) if name == "labels" else ((2 * y - 1)[:, None], YES.numpy()[..., :1])
        return -log_mean(scipy.special.log_expit(sign * logits / temperature).sum(-1)).mean()
    members = CASES[name][0]
    inner = getattr(members, "base_dist", members)
    loc, scale = inner.loc.numpy(), np.broadcast_to(inner.scale.numpy(), inner.loc.shape)
    back = loc.mean(0) + (y - loc.mean(0)) / temperature  # where a target was before it was moved
    family = {"student-t": scipy.stats.t(4), "laplace": scipy.stats.laplace}.get(name, scipy.stats.norm)
    log_density = family.logpdf((back - loc) / scale) - np.log(scale) - np.log(temperature)
    each = -log_mean(log_density.sum(-1) if name == "vectors" else log_density)
    return each.mean() if mean else each


@pytest.mark.parametrize("name", CASES)
def test_the_temperature_is_the_best_of_a_grid(name):
    members, y = CASES[name]
    posterior = table(Predictive(members))
    scaled = temperature_scaled(posterior, ROWS, y)
    values = [nll(name, at) for at in GRID]
    assert abs(np.log(scaled.temperature / GRID[np.argmin(values)])) < np.log(GRID[1] / GRID[0])
    assert scaled.nll == pytest.approx(nll(name, scaled.temperature), rel=1e-9)
    assert scaled.nll_before == pytest.approx(nll(name, 1.0), rel=1e-9)
    assert scaled.nll <= min(values) + 1e-9
    assert scaled.nll <= scaled.nll_before
    assert float(-scaled(ROWS).log_prob(y).mean()) == pytest.approx(scaled.nll, rel=1e-9)


def test_of_one_draw_it_has_closed_forms():
    for kind, wanted in ((Normal, lambda z: z.square().mean().sqrt()), (Laplace, lambda z: z.abs().mean())):
        scaled = temperature_scaled(table(Predictive(kind(LOC[:1], SCALE[:1]))), ROWS, TARGETS)
        assert scaled.temperature == pytest.approx(float(wanted((TARGETS - LOC[0]) / SCALE[0])), rel=1e-5)


@pytest.mark.parametrize("share", [0.9, 0.1])
def test_of_several_minima_it_is_the_lowest(share):
    """Members that disagree by far more than their noise, and targets where either may stand once moved."""
    offsets = torch.tensor([-4.0, 1.0, 3.0], dtype=torch.float64)
    posterior = table(Predictive(Normal(offsets[:, None].expand(3, N), 0.3)))
    y = torch.where(torch.arange(N) < share * N, 6.0, 12.0).double()

    def value(at):
        members = scipy.stats.norm.logpdf(y.numpy(), at * offsets.numpy()[:, None], at * 0.3)
        return -log_mean(members).mean()

    values = np.array([value(at) for at in GRID])
    assert ((values[1:-1] < values[:-2]) & (values[1:-1] < values[2:])).sum() > 1
    found = temperature_scaled(posterior, ROWS, y).temperature
    assert abs(np.log(found / GRID[values.argmin()])) < np.log(GRID[1] / GRID[0])


def test_a_mixture_in_closed_form_is_the_one_that_is_recalibrated():
    z = torch.tensor([-1.5, -0.5, 0.5, 1.5], dtype=torch.float64)
    z = z / z.std(correction=0)
    members = Normal(LOC[0] + 0.6 * z[:, None], 0.8)
    mixture = Normal(LOC[0], torch.ones_like(LOC[0]))
    scaled = temperature_scaled(table(Predictive(members, mixture)), ROWS, TARGETS)
    assert scaled.temperature == pytest.approx(float((TARGETS - LOC[0]).square().mean().sqrt()), rel=1e-5)
    found = scaled(ROWS)
    torch.testing.assert_close(found.mixture.mean, mixture.mean)
    torch.testing.assert_close(found.mixture.stddev, scaled.temperature * mixture.stddev)
    alone = Predictive(found.members)
    torch.testing.assert_close((alone.mean, alone.variance), (found.mean, found.variance))


@pytest.mark.parametrize("times", [1.0, 3.0])
def test_it_undoes_what_made_a_calibrated_method_too_sure(times):
    """Of labels that come from the logits, within 5 standard errors: right code fails with a chance of 6e-7.

    1 / T is a parameter of an exponential family, of information the variance of the logits.
    """
    num = 20_000
    logits = 2 * random(num, C, seed=7)
    true = Categorical(logits=logits)
    labels = true.sample()
    posterior = table(Predictive(Categorical(logits=times * logits[None])))
    found = times / temperature_scaled(posterior, torch.arange(num)[:, None], labels).temperature
    information = ((true.probs * logits**2).sum(-1) - (true.probs * logits).sum(-1) ** 2).sum()
    error = float(information**-0.5)
    assert abs(found - 1) < 5 * error
    assert not abs(1 / 1.1 - 1) < 5 * error  # logits a tenth too large would be found out


@pytest.mark.parametrize("name", ["classes", "yes or no", "normal"])
def test_scaled_logits_and_units_scale_the_temperature_alone(name):
    members, y = CASES[name]
    if name == "normal":
        one = temperature_scaled(table(Predictive(Normal(LOC[:1], SCALE[:1]))), ROWS, y)
        other = temperature_scaled(table(Predictive(Normal(LOC[:1], SCALE[:1] / 5))), ROWS, y)
    else:
        kind, logits = type(members), members.logits
        one = temperature_scaled(table(Predictive(kind(logits=logits[:1]))), ROWS, y)
        other = temperature_scaled(table(Predictive(kind(logits=5 * logits[:1]))), ROWS, y)
        assert torch.equal(one(ROWS).mode, Predictive(kind(logits=logits[:1])).mode)
    assert other.temperature == pytest.approx(5 * one.temperature, rel=1e-5)


def test_the_mean_stays_and_both_parts_grow_alike():
    for name in ("normal", "laplace", "student-t", "vectors"):
        before = Predictive(CASES[name][0])
        after = tempered(before, 3.0)
        torch.testing.assert_close(after.mean, before.mean)
        for part in ("total", "aleatoric", "epistemic"):
            torch.testing.assert_close(getattr(decompose(after), part), 9 * getattr(decompose(before), part))


def test_tempered_densities_are_those_of_moved_targets():
    before = Predictive(CASES["normal"][0])
    uniform = Categorical(logits=torch.zeros(N, S, dtype=torch.float64))
    mixture = MixtureSameFamily(uniform, Normal(LOC.T, SCALE.T))
    back = mixture.mean + (TARGETS - mixture.mean) / 3
    torch.testing.assert_close(tempered(before, 3.0).log_prob(TARGETS), mixture.log_prob(back) - np.log(3))


def test_temperature_one_changes_nothing():
    for members, y in CASES.values():
        before = Predictive(members)
        torch.testing.assert_close(tempered(before, 1.0).log_prob(y), before.log_prob(y))


@pytest.mark.parametrize("name", CASES)
def test_single_precision_finds_the_same(name):
    members, y = CASES[name]
    single = mapped(lambda t: t.float(), members)
    scaled = temperature_scaled(table(Predictive(single)), ROWS, y)
    wanted = temperature_scaled(table(Predictive(members)), ROWS, y).temperature
    assert scaled.temperature == pytest.approx(wanted, rel=1e-4)
    assert {t.dtype for t in unpack(scaled(ROWS).members)[0]} == {torch.float32}


@dataclass(frozen=True)
class Fitted:
    """What a fitted method has besides its call."""

    num_samples: int = S
    history: str = "what happened"
    summary: dict = field(default_factory=lambda: {"elbo_per_datum": -1.0})
    device: str = "cpu"

    def __call__(self, x):
        return Predictive(CASES["classes"][0])[x[:, 0].long()]

    def to(self, device):
        return Fitted(device=device)


def test_it_reads_like_the_method_it_scales():
    scaled = temperature_scaled(Fitted(), ROWS, LABELS)
    assert (scaled.num_samples, scaled.history) == (S, "what happened")
    assert scaled.summary == {"elbo_per_datum": -1.0, "temperature": scaled.temperature}
    assert scaled.to("elsewhere").posterior.device == "elsewhere"
    assert repr(scaled).startswith(
        f"TemperatureScaled(T={scaled.temperature:.4g}, held-out NLL {scaled.nll_before:.4g}"
    )
    assert "Fitted(" in repr(scaled)
    bare = temperature_scaled(table(Predictive(CASES["classes"][0])), ROWS, LABELS)
    assert bare.history is None
    assert bare.summary == {"temperature": bare.temperature}


class Planned:
    """A fitted method that can be told its memory."""

    num_samples = S

    def __call__(self, x, *, memory="1GB"):
        self.told = memory
        return Predictive(CASES["normal"][0])[x[:, 0].long()]

    def plan(self, x, *, memory=None):
        return f"{len(x)} inputs within {memory}"


@pytest.mark.parametrize("wrap", [temperature_scaled, conformal_intervals])
def test_memory_is_handed_on(wrap):
    wrapped = wrap(Planned(), ROWS, TARGETS)
    wrapped(ROWS)
    assert wrapped.posterior.told == "1GB"
    wrapped(ROWS, memory="50MB")
    assert wrapped.posterior.told == "50MB"
    with pytest.raises(TypeError, match="memory= goes with a posterior that takes it; this function does not"):
        wrap(table(Predictive(CASES["normal"][0])), ROWS, TARGETS)(ROWS, memory="50MB")
    assert wrapped.plan(ROWS, memory="50MB") == f"{len(ROWS)} inputs within 50MB"


@pytest.mark.parametrize(
    ("members", "y", "error", "words"),
    [
        (
            Categorical(logits=LOGITS[:1]),
            LOGITS[0].argmax(-1),
            ValueError,
            r"from 0.001 to 1000 must be best; .* lower still",
        ),
        (Normal(LOC[:1], SCALE[:1]), LOC[0], ValueError, "200 rows want it lower still, as where each is predicted"),
        (Normal(LOC, SCALE), 1e9 * TARGETS, ValueError, "higher still, as where y is not the target of x"),
        (Categorical(logits=LOGITS[:1]), LOGITS[0].argmin(-1), ValueError, "higher still"),
        (Categorical(logits=torch.zeros(S, N, C)), LABELS, ValueError, "200 rows are as likely at each, .* nothing to"),
        (
            Categorical(logits=LOGITS - torch.tensor([torch.inf, 0, 0])),
            LABELS,
            ValueError,
            r"infinite negative log-likelihood at each: .*\.log_prob\(y\)",
        ),
        (Poisson(LOC.exp()), torch.ones(N), NotImplementedError, "a temperature is known for .*; got Poisson"),
        (StudentT(DEGREES / 4, LOC, SCALE), TARGETS, NotImplementedError, "the predictive mean, which must be finite"),
    ],
)
def test_where_no_temperature_is_best_it_says_so(members, y, error, words):
    with pytest.raises(error, match=words):
        temperature_scaled(table(Predictive(members)), ROWS, y)


@pytest.mark.parametrize("name", ["classes", "normal"])
def test_the_record_tells_how_sure_the_fall_is(name):
    members, y = CASES[name]
    scaled = temperature_scaled(table(Predictive(members)), ROWS, y)
    after, before = (np.array([nll(name, at, mean=False)]) for at in (scaled.temperature, 1.0))
    assert scaled.error == pytest.approx(scipy.stats.sem((before - after).ravel()), rel=1e-6)
    assert f"lower by {(before - after).mean():.2g} ± {scaled.error:.2g}, <function" in repr(scaled)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="a temperature must be positive and finite"):
        tempered(Predictive(CASES["classes"][0]), temperature)
