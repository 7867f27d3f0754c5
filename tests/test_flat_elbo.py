"""The objective in few operations against `MeanFieldELBO`'s parts and autograd, given the same noise."""

import warnings

import pyro.distributions as dist
import pytest
import torch
from cases import TASKS
from torch import nn

from bayesnn import BayesianNeuralNetwork, fit_svi, likelihoods, networks, priors
from bayesnn.axes import principal_axes
from bayesnn.elbo import site_divergence
from bayesnn.fitting import isolated
from bayesnn.flat_elbo import FlatELBO
from bayesnn.guides import AutoNormal
from bayesnn.priors import FittedNormal
from bayesnn.reparameterisation import PerDatumNoise, local_sites
from bayesnn.written_out import WrittenOut

NUM_DATA, WEIGHT = 40, 0.7


def data(shape, classes):
    generator = torch.Generator().manual_seed(1)
    x = 3 + 2 * torch.randn(NUM_DATA, *shape, dtype=torch.float64, generator=generator)
    y = x.flatten(1).sum(1)
    return x, (y > y.median()).long() if classes else y


def norm_net():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2))


class Shared(nn.Module):
    """Reads its inputs twice, so that they cannot be turned for one of the readers."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 9), nn.Linear(3, 9), nn.Linear(9, 1)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)) + self.second(x.flip(1)))


class Gain(nn.Module):
    """Reads its inputs a second time, by a gain that is zero at the start."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.gain = nn.Linear(3, 9), nn.Linear(9, 1), nn.Parameter(torch.zeros(3))

    def forward(self, x):
        return self.last(torch.tanh(self.first(x))) + (self.gain * x.flip(1)).sum(1, keepdim=True)


class ByWeights(nn.Module):
    """Uses the weights of its layers without calling these."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 9), nn.Linear(9, 1)

    def forward(self, x):
        hidden = torch.tanh(nn.functional.linear(x, self.first.weight, self.first.bias))
        return nn.functional.linear(hidden, self.last.weight, self.last.bias)


CASES = {
    "latent noise": (lambda: networks.mlp(3, 1, hidden=9), (3,), likelihoods.gaussian, None),
    "two targets": (lambda: networks.mlp(3, 2, hidden=9), (3,), likelihoods.gaussian, None),
    "known noise": (lambda: networks.mlp(3, 1, hidden=()), (3,), likelihoods.gaussian.with_noise(0.5), None),
    "classes": (lambda: networks.mlp((3, 4), 2, hidden=(9, 8)), (3, 4), likelihoods.categorical, None),
    "fixed prior": (lambda: networks.mlp(3, 2, hidden=9), (3,), likelihoods.categorical, priors.normal(0.8, loc=0.0)),
    "off center": (lambda: nn.Linear(3, 1), (3,), likelihoods.gaussian, priors.normal(0.8, loc=0.3)),
    "convolutions": (lambda: networks.conv_net((4, 4), 2, channels=(3,)), (4, 4), likelihoods.categorical, None),
    "gains": (norm_net, (3,), likelihoods.categorical, None),
    "a gain of zero": (Gain, (3,), likelihoods.gaussian, None),
    "layers not called": (ByWeights, (3,), likelihoods.gaussian, None),
    "two readers": (Shared, (3,), likelihoods.gaussian, None),
}


def made(name, rotate):
    network, shape, likelihood, prior = CASES[name]
    x, y = data(shape, likelihood is likelihoods.categorical)
    y = torch.stack([y, -2 * y], 1) if name == "two targets" else y
    torch.manual_seed(0)
    model = BayesianNeuralNetwork(network().double(), prior=prior, likelihood=likelihood).for_data(x, y)
    sites = local_sites(model.run, model.start(), x, y)
    axes = principal_axes(model, x, sites) if rotate and name != "off center" else {}
    return model, AutoNormal(model, x, y, axes=axes, init_scale=0.3), x, y, sites


def reference(model, guide, x, y, sites, num_shared, seed, sign=1):
    """Misfit and divergence by the guide's own distributions, at the same draws."""
    torch.manual_seed(seed)
    noise = sign * torch.randn(num_shared, dtype=torch.float64)
    values, start = {}, 0
    for name in (name for name in guide.supports if name not in sites):
        loc, scale = guide._get_loc_and_scale(name)
        value = loc + scale * noise[start : start + loc.numel()].view_as(loc)
        value = value @ guide.axes[name].T if name in guide.axes else value
        values[name] = value.exp() if name in model.latents() else value
        start += loc.numel()
    values |= {name: torch.zeros_like(guide._get_loc_and_scale(name)[0]) for name in sites}  # they stand for the noise
    with PerDatumNoise(values, guide.noise(sites)):
        misfit = -model.log_likelihood(values, x, y).sum() / len(x)
    prior = {name: p.to_event() for name, p in model.priors().items()} | model.latents()
    kl = sum(site_divergence(site, prior[name], site.rsample()) for name, site in guide.sites().items())
    return misfit, kl / NUM_DATA


@pytest.mark.parametrize("per_datum", [False, True], ids=["shared", "per datum"])
@pytest.mark.parametrize("rotate", [False, True], ids=["columns", "axes"])
@pytest.mark.parametrize("name", CASES)
def test_terms_and_gradient_are_those_of_the_reference(name, rotate, per_datum):
    with isolated(0, torch.device("cpu")):
        model, guide, x, y, local = made(name, rotate)
        sites = local if per_datum else []
        assert FlatELBO.serves(model, guide)
        batch = slice(5, 25)
        _, same, _, _, _ = made(name, rotate)
        flat = FlatELBO(model, same, x, y, per_datum=sites)
        torch.manual_seed(3)
        terms = flat([flat.inputs[batch], flat.targets[batch]], WEIGHT)
        shared = sum(guide._get_loc_and_scale(n)[0].numel() for n in guide.supports if n not in sites)
        misfit, kl = reference(model, guide, x[batch], y[batch], sites, shared, 3)
        (misfit + WEIGHT * kl).backward()
        assert float(terms["misfit"]) == pytest.approx(misfit.item(), rel=1e-9)
        assert float(terms["kl"]) == pytest.approx(kl.item(), rel=1e-9)
        assert float(terms["loss"]) == pytest.approx((misfit + WEIGHT * kl).item(), rel=1e-9)
        order = [n for n in guide.supports if n not in sites] + [n for n in guide.supports if n in sites]
        leaves = dict(guide.named_parameters())
        expected = [leaves[f"{kind}.{n}_unconstrained"].grad.flatten() for kind in ("locs", "scales") for n in order]
        torch.testing.assert_close(flat.parameters.grad, torch.cat(expected), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["latent noise", "classes", "convolutions"])
def test_every_second_draw_for_a_minibatch_is_the_mirror_image(name, monkeypatch):
    monkeypatch.setattr("bayesnn.noise_table._READINGS", 1)  # every new draw is what the generator gives at once
    with isolated(0, torch.device("cpu")):
        model, guide, x, y, _ = made(name, False)
        _, same, _, _, _ = made(name, False)
        flat = FlatELBO(model, same, x, y)
        shared = sum(guide._get_loc_and_scale(n)[0].numel() for n in guide.supports)
        leaves = dict(guide.named_parameters())
        for seed, sign in ((3, 1), (3, -1), (4, 1), (4, -1)):
            torch.manual_seed(seed if sign > 0 else 99)  # nothing is drawn for a mirror image
            terms = flat([flat.inputs, flat.targets], WEIGHT)
            guide.zero_grad()
            misfit, kl = reference(model, guide, x, y, [], shared, seed, sign)
            (misfit + WEIGHT * kl).backward()
            assert float(terms["misfit"]) == pytest.approx(misfit.item(), rel=1e-9)
            expected = [leaves[f"{kind}.{n}_unconstrained"].grad.flatten() for kind in ("locs", "scales")
                        for n in guide.supports]  # fmt: skip
            torch.testing.assert_close(flat.parameters.grad, torch.cat(expected), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("per_datum", [True, False], ids=["by datum", "shared"])
@pytest.mark.parametrize("name", CASES)
def test_a_later_step_is_what_the_first_of_a_new_objective_is(name, per_datum, monkeypatch):
    """Nothing of the steps before is left in the gradient."""
    monkeypatch.setattr("bayesnn.noise_table._READINGS", 1)  # every step's noise is what the generator gives at once
    with isolated(0, torch.device("cpu")):
        slopes = []
        for num_before in (0, 1, 2):
            model, guide, x, y, sites = made(name, False)
            flat = FlatELBO(model, guide, x, y, per_datum=sites if per_datum else [])
            for _ in range(num_before):
                flat([flat.inputs, flat.targets], 0.3 * WEIGHT)
            flat._sign = 1
            torch.manual_seed(5)
            flat([flat.inputs, flat.targets], WEIGHT)
            slopes.append(flat.parameters.grad.clone())
        for later in slopes[1:]:
            torch.testing.assert_close(later, slopes[0], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("is_biased", [True, False], ids=["biases", "no biases"])
def test_scales_of_next_to_nothing_leave_every_number_finite(is_biased):
    """Where inputs are zero, the variance of an output is that of its bias alone, or zero."""
    network = nn.Sequential(nn.Linear(3, 4, bias=is_biased), nn.ReLU(), nn.Linear(4, 1, bias=is_biased))
    x, y = torch.zeros(20, 3), torch.randn(20)
    with isolated(0, torch.device("cpu")):
        model = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian).for_data(x, y)
        guide = AutoNormal(model, x, y, init_scale=1e-30)
        flat = FlatELBO(model, guide, x, y, per_datum=local_sites(model.run, model.start(), x, y))
        assert isinstance(flat._passes, WrittenOut)
        terms = flat([flat.inputs, flat.targets])
    assert terms["loss"].isfinite()
    assert flat.parameters.grad.isfinite().all()


def test_the_divergence_is_told_anew_every_tenth_step():
    """Its gradient is that of each step; its value is for the history alone."""
    with isolated(0, torch.device("cpu")):
        model, guide, x, y, _ = made("classes", False)
        flat = FlatELBO(model, guide, x, y)
        told = []
        for _ in range(11):
            told.append(float(flat([flat.inputs, flat.targets])["kl"]))
            flat.parameters.data[:] += 0.01
        assert len(set(told)) == 2
        assert told[0] == told[9] != told[10]


@pytest.mark.parametrize("rotate", [False, True], ids=["columns", "axes"])
@pytest.mark.parametrize("name", CASES)
def test_several_particles_at_once_are_those_of_the_reference(name, rotate):
    """Where all noise is drawn for each datum: one pass over copies of the batch, the likelihood's unknowns by copy."""
    copies = 3
    with isolated(0, torch.device("cpu")):
        model, guide, x, y, sites = made(name, rotate)
        _, same, _, _, _ = made(name, rotate)
        flat = FlatELBO(model, same, x, y, per_datum=sites, num_particles=copies)
        torch.manual_seed(3)
        terms = flat([flat.inputs, flat.targets], WEIGHT)
        if not set(guide.supports) - set(sites) <= model.latents().keys():
            assert flat._copies == 1  # weights drawn once for all data: one draw after another, tested below
            return
        torch.manual_seed(3)
        latents = {n: guide._get_loc_and_scale(n) for n in guide.supports if n in model.latents()}
        sizes = [loc.numel() for loc, _ in latents.values()]
        noise = torch.randn(copies, sum(sizes), dtype=torch.float64).split(sizes, 1)
        drawn = {n: (m + s * e.view(copies, *m.shape)).exp()
                 for (n, (m, s)), e in zip(latents.items(), noise, strict=True)}  # fmt: skip
        values = {n: torch.zeros_like(guide._get_loc_and_scale(n)[0]) for n in sites}
        with PerDatumNoise(values, guide.noise(sites)):
            outputs = model.outputs(values, x.repeat(copies, *[1] * (x.ndim - 1))).unflatten(0, (copies, -1))
        misfit = -sum(
            model.likelihood(outputs[k], {n: v[k] for n, v in drawn.items()}, model.target()).log_prob(y).sum()
            for k in range(copies)
        ) / (copies * len(x))
        prior = {n: p.to_event() for n, p in model.priors().items()} | model.latents()
        kl = sum(site_divergence(site, prior[n], site.rsample()) for n, site in guide.sites().items()) / NUM_DATA
        (misfit + WEIGHT * kl).backward()
        assert float(terms["misfit"]) == pytest.approx(misfit.item(), rel=1e-9)
        leaves, order = dict(guide.named_parameters()), [*latents, *(n for n in guide.supports if n in sites)]
        expected = [leaves[f"{kind}.{n}_unconstrained"].grad.flatten() for kind in ("locs", "scales") for n in order]
        torch.testing.assert_close(flat.parameters.grad, torch.cat(expected), rtol=1e-8, atol=1e-10)


def test_many_particles_of_convolutions_are_several_passes():
    with isolated(0, torch.device("cpu")):
        model, guide, x, y, sites = made("convolutions", False)
        _, same, _, _, _ = made("convolutions", False)
        six, three = (
            FlatELBO(model, guide if number == 6 else same, x, y, per_datum=sites, num_particles=number)
            for number in (6, 3)
        )
        assert (six._copies, three._copies) == (3, 3)
        torch.manual_seed(3)
        misfit = six([six.inputs, six.targets], WEIGHT)["misfit"]
        torch.manual_seed(3)
        halves, slopes = [], []
        for _ in range(2):
            halves.append(three([three.inputs, three.targets], WEIGHT)["misfit"])
            slopes.append(three.parameters.grad.clone())
        torch.testing.assert_close(misfit, sum(halves) / 2)
        torch.testing.assert_close(six.parameters.grad, sum(slopes) / 2)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_likelihood_of_several_draws_is_that_of_each(task):
    x, y = task.data(torch.float64)
    model = task.model(torch.float64).for_data(x, y)
    likelihood, target = model.likelihood, model.target()
    outputs = torch.randn(3, len(x), task.num_outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    latents = {name: prior.sample(torch.Size([3])) for name, prior in model.latents().items()}
    seen = likelihood.seen(model.targets(y), target)
    total, slopes, by_latent = likelihood.log_likelihood_and_slopes(
        outputs.clone(), latents, seen.expand(3, *seen.shape), target
    )
    alone = [
        likelihood.log_likelihood_and_slopes(each.clone(), {n: v[k] for n, v in latents.items()}, seen, target)
        for k, each in enumerate(outputs)
    ]
    torch.testing.assert_close(total, sum(found for found, _, _ in alone))
    torch.testing.assert_close(slopes, torch.stack([slope for _, slope, _ in alone]))
    for name in latents:
        torch.testing.assert_close(by_latent[name], torch.stack([found[name] for _, _, found in alone]))


def test_the_guide_moves_with_the_vector_until_it_is_released():
    with isolated(0, torch.device("cpu")):
        model, guide, x, y, _ = made("latent noise", False)
        before = {name: value.detach().clone() for name, value in guide.named_parameters()}
        flat = FlatELBO(model, guide, x, y)
        with torch.no_grad():
            flat.parameters += 1
        for name, value in guide.named_parameters():
            torch.testing.assert_close(value.detach(), before[name] + 1)
        flat.release()
        with torch.no_grad():
            flat.parameters += 1
        for name, value in guide.named_parameters():
            torch.testing.assert_close(value.detach(), before[name] + 1)


def test_several_particles_are_averaged():
    with isolated(0, torch.device("cpu")):
        model, guide, x, y, _ = made("latent noise", False)
        several, one = (FlatELBO(model, guide, x, y, num_particles=n) for n in (3, 1))
        torch.manual_seed(5)
        found, slope = several([several.inputs, several.targets]), several.parameters.grad.clone()
        torch.manual_seed(5)
        alone = [(one([one.inputs, one.targets]), one.parameters.grad.clone()) for _ in range(3)]
        assert float(found["loss"]) == pytest.approx(sum(float(terms["loss"]) for terms, _ in alone) / 3)
        torch.testing.assert_close(slope, sum(part for _, part in alone) / 3)


def test_inputs_are_turned_only_where_one_layer_reads_them():
    with isolated(0, torch.device("cpu")):
        for name, turned in (
            ("latent noise", True),
            ("classes", True),
            ("two readers", False),
            ("a gain of zero", False),
        ):
            model, guide, x, y, sites = made(name, True)
            assert guide.axes
            flat = FlatELBO(model, guide, x, y, per_datum=sites)
            assert flat.inputs.shape == x.shape
            assert flat.inputs.allclose(model.standardised(x)) is not turned


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (BayesianNeuralNetwork(nn.Linear(3, 1), prior=priors.laplace(), likelihood=likelihoods.gaussian), "Laplace"),
        (
            BayesianNeuralNetwork(nn.Linear(3, 1), likelihood=likelihoods.gaussian.with_noise(dist.HalfNormal(1.0))),
            "a noise scale that is not log-normal",
        ),
        (
            BayesianNeuralNetwork(
                nn.Linear(3, 1),
                prior=lambda name, value: dist.LogNormal(-1.0, 0.5).expand(value.shape).to_event(value.ndim),
                likelihood=likelihoods.gaussian,
            ),
            "weights whose logarithm is normal",
        ),
    ],
)
def test_what_it_does_not_serve_is_fitted_by_the_reference(model, why):
    x, y = data((3,), False)
    x, y = x.float(), y.float()
    with isolated(0, torch.device("cpu")):
        known = model.for_data(x, y)
        assert not FlatELBO.serves(known, AutoNormal(known, x, y)), why
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two epochs are too few, and it may say so
        posterior = fit_svi(model, x, y, num_epochs=2, warmup=0.0, num_samples=3, progress=False)
    assert posterior(x).mean.isfinite().all()


def test_prior_scales_follow_the_guide():
    with isolated(0, torch.device("cpu")):
        model, guide, x, y, _ = made("latent noise", False)
        flat = FlatELBO(model, guide, x, y)
        batch = [flat.inputs, flat.targets]
        optimiser = torch.optim.Adam([flat.parameters], lr=0.05)
        for _ in range(11):  # the eleventh step fits them anew
            flat(batch)
            moments = {n: tuple(v.detach().clone() for v in guide._get_loc_and_scale(n)) for n in guide.supports}
            optimiser.step()
        scales = [prior.fitted(*moments[name]).scale if isinstance(prior, FittedNormal) else prior.scale
                  for name, prior in model.priors().items()]  # fmt: skip
        expected = -2 * sum(float(scale.log().sum()) for scale in scales)  # the noise scale's own is 1, its log 0
        assert float(flat._divergence._constant) == pytest.approx(expected + len(flat.parameters) / 2)
