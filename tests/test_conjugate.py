"""Bayesian linear regression against dense normals: the joint density of the targets, and conditioning of a normal."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.linear_model import BayesianRidge

from bayesnn.conjugate import LinearRegression


def problem(num=30, features=4, columns=2):
    generator = torch.Generator().manual_seed(3)
    phi = torch.randn(num, features, generator=generator, dtype=torch.float64)
    t = torch.randn(num, columns, generator=generator, dtype=torch.float64) + 2 * phi[:, :1]
    loc = torch.randn(columns, features, generator=generator, dtype=torch.float64)
    scale = 0.2 + torch.rand(columns, features, generator=generator, dtype=torch.float64)
    return phi, t, loc, scale, torch.tensor([0.3, 1.4], dtype=torch.float64)[:columns]


@pytest.mark.parametrize("num", [30, 3], ids=["more data than features", "fewer"])
def test_evidence_and_posterior_are_those_of_dense_normals(num):
    phi, t, loc, scale, noise = problem(num)
    regression = LinearRegression.of(phi, t, loc, scale)
    found = regression.posterior(noise)
    for k in range(2):
        prior = torch.diag(scale[k].square())
        covariance = phi @ prior @ phi.T + noise[k] ** 2 * torch.eye(num, dtype=phi.dtype)
        wanted = multivariate_normal(phi @ loc[k], covariance).logpdf(t[:, k])
        assert float(regression.log_evidence(noise)[k]) == pytest.approx(wanted, rel=1e-9)
        gain = prior @ phi.T @ torch.linalg.inv(covariance)
        torch.testing.assert_close(found.mean[k], loc[k] + gain @ (t[:, k] - phi @ loc[k]))
        torch.testing.assert_close(found.root[k] @ found.root[k].T, prior - gain @ phi @ prior)


def test_evidence_at_many_noises_at_once_and_in_chunks():
    phi, t, loc, scale, _ = problem()
    regression = LinearRegression.of(phi, t, loc, scale)
    noises = torch.rand(6, 2, dtype=torch.float64) + 0.1
    whole = regression.log_evidence(noises)
    assert whole.shape == (6, 2)
    torch.testing.assert_close(whole[4], regression.log_evidence(noises[4]))
    many = LinearRegression.of(phi.repeat(300, 1), t.repeat(300, 1), loc, scale)
    wanted = many.scale[:, :, None] * (300 * phi.T @ phi) * many.scale[:, None, :]
    rebuilt = many.eigenvectors * many.eigenvalues[:, None] @ many.eigenvectors.mT
    torch.testing.assert_close(rebuilt, wanted)


def test_posterior_is_scikit_learns():
    phi, t, *_ = problem(columns=1)
    oracle = BayesianRidge(fit_intercept=False).fit(phi.numpy(), t[:, 0].numpy())
    scale = torch.full((1, 4), oracle.lambda_**-0.5, dtype=torch.float64)
    regression = LinearRegression.of(phi, t, torch.zeros(1, 4, dtype=torch.float64), scale)
    found = regression.posterior(torch.tensor([oracle.alpha_**-0.5]))
    np.testing.assert_allclose(found.mean[0], oracle.coef_, rtol=1e-3)
    mean, variance = found.of_outputs(phi)
    predicted, spread = oracle.predict(phi.numpy(), return_std=True)
    np.testing.assert_allclose(mean[:, 0], predicted, rtol=1e-3)
    np.testing.assert_allclose(variance[:, 0] + 1 / oracle.alpha_, spread**2, rtol=1e-6)


def test_draws_have_the_posteriors_moments():
    """28 figures, each within 6 standard errors: right code fails with a chance of 6e-8."""
    phi, t, loc, scale, noise = problem()
    found = LinearRegression.of(phi, t, loc, scale).posterior(noise)
    state = torch.get_rng_state()
    drawn = found.draws(40_000, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn, found.draws(40_000, seed=1))
    for k in range(2):
        wanted = found.root[k] @ found.root[k].T
        variances = wanted.diagonal()
        assert ((drawn[:, k].mean(0) - found.mean[k]).abs() < 6 * (variances / 40_000).sqrt()).all()
        error = ((wanted.square() + variances[:, None] * variances) / 40_000).sqrt()
        assert ((drawn[:, k].T.cov() - wanted).abs() < 6 * error).all()
        assert not ((drawn[:, k].T.cov() - found.root[k]).abs() < 6 * error).all()
