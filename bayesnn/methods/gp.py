"""fit_gp: Gaussian processes on GPyTorch, exact or variational, for any likelihood, with or without a deep kernel."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any, Literal

import torch
from torch import Tensor

from bayesnn.checks import check_count, check_positive
from bayesnn.columns import columns_of
from bayesnn.data import as_training_data, on_device
from bayesnn.features import Body, body_of
from bayesnn.fitting import epochs_for, isolated, prepared
from bayesnn.likelihoods import Affine, Gaussian, Likelihood
from bayesnn.methods.gp_posterior import GaussianProcess
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.training import Callback

__all__ = ["fit_gp"]

_INDUCING = 100
_STEPS = 1000
_ITERATIONS = 500
_FEW_COLUMNS = 32
"""Inputs of more columns share one length-scale: with one each, the pixels of a picture would overfit."""

_DEEP_RATE, _RATE = 0.01, 0.05


def fit_gp(
    model: BayesianNeuralNetwork | Likelihood,
    x: Any,
    y: Any = None,
    *,
    num_samples: int = 100,
    num_epochs: int | None = None,
    batch_size: int = 256,
    learning_rate: float | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    kernel: Literal["matern", "rbf", "two_scales", "rough", "best"] | Any = "matern",
    num_inducing: int | None = None,
    deep_kernel: bool = False,
    max_exact: int = 10_000,
    num_kernel_data: int = 2000,
) -> GaussianProcess:
    r"""Fit a Gaussian process: exactly where that is possible, else by variational inference with inducing points.

    .. math:: f \sim GP(0, k_\vartheta), \qquad y_n \sim p(y \mid f(x_n)).

    Exact for a Gaussian likelihood with one noise scale and up to ``max_exact`` data: the kernel's parameters and the
    noise maximise the marginal likelihood times the noise scale's prior density, by L-BFGS from two starts, in double
    precision; of more than ``num_kernel_data``, the marginal likelihood of so many drawn at random. In all other cases,
    for any likelihood, one latent function for each output that a network would have, their values at inducing points
    maximising the ELBO by Adam, the likelihood's unknowns as points under their prior.
    The posterior's ``repr`` says which of the two it is.

    The variance of the function is the epistemic part, the noise the aleatoric one. Several targets have independent
    functions.

    Args:
        model: A likelihood, such as `likelihoods.gaussian`; or a model, whose likelihood is taken, and whose network is
            of use with ``deep_kernel`` only.
        x: Inputs ``(N, ...)`` in raw units, pictures are flattened; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_samples: Members S of a prediction.
        num_epochs: Iterations of each climb (500 if left out) of an exact process; passes over the data of a
            variational one (as many as make 1000 steps, 20 at least) or of a deep kernel.
        batch_size: Data in a minibatch of a variational process.
        learning_rate: Adam's step size at the start: 0.05, and 0.01 for a deep kernel, if left out.
        device: Where to fit; where the model or the data are, if left out.
        seed: Seed of the inducing points, the minibatches, and the members' order.
        progress: Whether to show a progress bar.
        callback: Called after each epoch or iteration with its number and the mean of each term.
        kernel: ``"matern"`` (smoothness 5/2), ``"rbf"``, ``"two_scales"`` (two Matern kernels added, of smoothness 3/2
            and 5/2: a quick part beside a slow one), ``"rough"`` (of 1/2 and 5/2: jumps and kinks beside a trend), or a
            gpytorch kernel of standardised inputs. Those named have a length-scale for each column of tables of up to
            32, and one for all of pictures and wider ones. ``"best"`` tries those named, a list those in it, and takes
            the one with which what is maximised rises highest: on ``num_kernel_data`` rows of an exact process, the
            ELBO of a variational one. Each takes its own time.
        num_inducing: Inducing points of a variational process, learnt: 100 (or N if that is less) if left out. Given,
            it makes a variational process of one that could be exact.
        deep_kernel: Compare the inputs of the network's last linear layer instead of the inputs themselves, and train
            the network along. A deep kernel can overfit as a network does, its uncertainty with it (Ober et al. 2021).
        max_exact: Data up to which a process that can be exact is; with a deep kernel ``num_kernel_data`` too. Time
            grows with their cube, memory with their square: 10 000 take a minute and 2 GB beside the learning. 1 makes
            every process variational.
        num_kernel_data: Data from which kernel and noise of an exact process are learnt, drawn at random where there
            are more. All data are conditioned on.

    Returns:
        A posterior to call on inputs; its ``summary`` tells ``log_marginal_likelihood_per_datum`` (of standardised
        targets) of an exact process, ``elbo_per_datum`` and ``num_inducing`` of a variational one.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If the data do not suit the likelihood, or a setting is out of range; the message says how.

    References:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, chapters 2 and 5; Hensman et al. (2015),
        arXiv:1411.2005; Wilson et al. (2016), Deep Kernel Learning, arXiv:1511.02222; Ober et al. (2021),
        arXiv:2102.12108.

    Example:
        >>> from bayesnn import likelihoods
        >>> x = torch.linspace(0, 6, 30)[:, None]
        >>> posterior = fit_gp(likelihoods.gaussian, x, x[:, 0].sin(), progress=False)
        >>> posterior(x).mean.shape
        torch.Size([30])
    """
    check_count("num_samples", num_samples)
    check_count("max_exact", max_exact)
    check_count("num_kernel_data", num_kernel_data)
    if num_inducing is not None:
        check_count("num_inducing", num_inducing)
    if not isinstance(num_epochs, Integral | None):
        raise TypeError(f"num_epochs must be a whole number; got {num_epochs!r}.")
    if num_epochs is not None and num_epochs < 1:
        raise ValueError(f"num_epochs must be 1 or more; got {num_epochs}.")
    with torch.inference_mode(False):
        data = _Data.of(model, x, y, device, deep_kernel)
    size = len(data.x)
    if num_inducing is not None and num_inducing > size:
        raise ValueError(f"inducing points must be {size} or fewer, as many as there are data; got {num_inducing}.")
    most = min(max_exact, num_kernel_data) if deep_kernel else max_exact
    exact = isinstance(data.likelihood, Gaussian) and num_inducing is None and size <= most
    rate = learning_rate if learning_rate is not None else _DEEP_RATE if deep_kernel else _RATE
    check_positive("learning_rate", rate, "Write learning_rate=0.01, say.")
    epochs = epochs_for(num_epochs, _STEPS, size, batch_size)
    shown: dict[str, Any] = {"progress": progress, "callback": callback}
    with isolated(seed, data.x.device):
        from bayesnn.methods.gp_inputs import Inputs, choices_of, kernel_of

        choices = choices_of(kernel)
        if len(choices) > 1 and deep_kernel:
            raise ValueError('a deep kernel is trained with one kernel; got several. Write kernel="matern".')
        inputs = Inputs(data.x, standardise=data.standardise, body=data.body, indices=data.indices)
        with torch.no_grad():
            features = inputs(data.x)
        columns = data.body is None and data.x.ndim == 2 and features.shape[1] <= _FEW_COLUMNS
        noise: str | float | None = None
        if exact:
            from bayesnn.methods.gp_climb import climb, train_features
            from bayesnn.methods.gp_exact import ExactProcess

            assert isinstance(data.likelihood, Gaussian)
            known = isinstance(data.likelihood.noise, int | float)
            y = (data.y - data.target.loc) / data.target.scale
            y = y[:, None] if y.ndim == 1 else y
            start = torch.full((y.shape[1],), 0.3, dtype=torch.float64, device=y.device)
            start = data.likelihood.noise / data.target.scale * torch.ones_like(start) if known else start
            kernels = [[kernel_of(k, features, columns=columns) for k in choices] for _ in range(y.shape[1])]
            chosen = torch.randperm(size)[:num_kernel_data].sort().values.to(data.x.device)
            first = [candidates[0] for candidates in kernels]
            process: Any = ExactProcess(inputs, first, start, data.x, y, learn_noise=not known, learn_from=chosen)

            def log_prior(noise: Tensor) -> Tensor:
                return _log_prior(data, noise)

            if deep_kernel:
                deep: dict[str, Any] = {"num_epochs": num_epochs or _ITERATIONS, "learning_rate": rate, **shown}
                figure, history = train_features(process, log_prior=log_prior, **deep)
            else:
                steps = num_epochs or _ITERATIONS
                figure, history = climb(process, kernels, log_prior=log_prior, max_iterations=steps, **shown)
            summary = {"log_marginal_likelihood_per_datum": figure}
            latents = (
                {} if known else {"noise_scale": data.target.scale * process.noise.detach().view_as(data.target.scale)}
            )
            noise = data.likelihood.noise if known else "noise_scale"
        else:
            from bayesnn.methods.gp_variational import VariationalProcess, ascend_best

            chosen = torch.randperm(size)[: num_inducing or min(_INDUCING, size)].to(data.x.device)
            ascent: dict[str, Any] = {"num_epochs": epochs, "batch_size": batch_size, "learning_rate": rate, **shown}
            few, functions = features[chosen], data.num_outputs
            variational = [kernel_of(choice, features, columns=columns, functions=functions) for choice in choices]
            processes = [VariationalProcess(inputs, one, few, functions) for one in variational]
            process, latents, figure, history = ascend_best(
                processes, data.likelihood, data.target, data.x, data.y, **ascent
            )
            summary = {"elbo_per_datum": figure, "num_inducing": float(len(chosen))}
            if isinstance(data.likelihood, Gaussian):
                noise = data.likelihood.noise if not latents else "noise_scale"
    process.requires_grad_(False)
    words = f"(N, {', '.join(map(str, data.x.shape[1:]))})"
    return GaussianProcess(
        process,
        data.likelihood,
        data.target,
        latents,
        num_samples,
        seed,
        data.dtype,
        words,
        noise,
        "gp",
        history,
        summary,
        columns=columns_of(x),
    )


class _Data:
    """Inputs, targets and what is known of both."""

    def __init__(self, x: Tensor, y: Tensor, likelihood: Likelihood, target: Affine, dtype: torch.dtype) -> None:
        self.x, self.y, self.likelihood, self.dtype = x, y, likelihood, dtype
        self.target = Affine(target.loc.double(), target.scale.double())
        self.y = y.double() if y.is_floating_point() else y
        self.num_outputs, self.standardise, self.indices = 1, True, False
        self.body: Body | None = None

    @classmethod
    def of(cls, model: Any, x: Any, y: Any, device: Any, deep_kernel: bool) -> _Data:
        """Of a model, or of a likelihood alone."""
        if isinstance(model, Likelihood):
            if deep_kernel:
                raise ValueError(
                    "a deep kernel needs a network; got a likelihood alone. Pass BayesianNeuralNetwork(network, "
                    "likelihood=...)."
                )
            inputs, targets = as_training_data(x, y)
            there = on_device(device, inputs.device)
            inputs, targets = inputs.to(there), targets.to(there)
            kind = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
            number, least = model.outputs_for(targets), model.outputs_for(torch.ones_like(targets))
            targets = model.typed(model.checked(targets, max(number, least)), torch.float64)
            if number < least:  # fewer than the labels 0 and 1 take
                raise ValueError(
                    "targets must be of two classes at least; got class 0 alone. Pass data of all classes."
                )
            data = cls(inputs, targets, model, model.affine(targets.double()), kind)
            data.num_outputs = number
            return data
        known, inputs, targets = prepared(model, x, y, device, trains=deep_kernel)
        data = cls(inputs, targets, known.likelihood, known.target(), known.dtype)
        few = inputs[:8]
        data.num_outputs = known.outputs(known.start(), few).shape[-1]
        data.standardise = known.standardise
        if deep_kernel:
            seen = known.standardised(few)
            data.body, data.indices = body_of(copy.deepcopy(known.network), seen), not seen.is_floating_point()
        return data


def _log_prior(data: _Data, noise: Tensor) -> Tensor:
    """Log density of a Gaussian noise scale under its prior; 0 where the noise is known."""
    priors = data.likelihood.latents(data.target)
    if not priors:
        return noise.new_zeros(())
    return priors["noise_scale"].log_prob(data.target.scale * noise.view_as(data.target.scale)).sum()
