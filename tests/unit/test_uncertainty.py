"""Measures of uncertainty against integrals, brute force, other libraries and Monte Carlo."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.distributions.empirical_distribution import ECDF

from protein_lab.errors import ProteinLabError
from protein_lab.metrics import scoring_rules as rules
from protein_lab.metrics import uncertainty as unc


def crps_by_integration(mean: float, sigma: float, observed: float) -> float:
    """Integrate the definition: the squared distance of two distribution functions."""
    below, _ = integrate.quad(lambda x: stats.norm.cdf(x, mean, sigma) ** 2, -np.inf, observed)
    above, _ = integrate.quad(lambda x: stats.norm.sf(x, mean, sigma) ** 2, observed, np.inf)
    return below + above


@pytest.mark.parametrize(
    ("mean", "sigma", "observed"),
    [(0.0, 1.0, 0.0), (0.3, 0.5, 2.1), (-4.0, 3.0, -9.0), (1.0, 0.01, 1.02)],
)
def test_gaussian_crps_is_the_integral(mean: float, sigma: float, observed: float) -> None:
    """Idea: the closed form is the integral that defines the score."""
    expected = crps_by_integration(mean, sigma, observed)
    assert rules.gaussian_crps(mean, sigma, observed) == pytest.approx(expected, abs=1e-7)


def test_gaussian_crps_is_proper() -> None:
    """Idea: on average no prediction beats the distribution that the data come from."""
    drawn = np.random.default_rng(0).normal(1.0, 2.0, size=20000)
    best = rules.gaussian_crps(1.0, 2.0, drawn).mean()
    for mean, sigma in ((1.0, 1.5), (1.0, 2.6), (0.5, 2.0), (1.5, 2.0)):
        assert rules.gaussian_crps(mean, sigma, drawn).mean() > best


def test_ensemble_crps_is_the_sum_over_pairs() -> None:
    """Idea: the sorted form is the plain double sum."""
    rng = np.random.default_rng(1)
    members, observed = rng.normal(size=(5, 4, 3)), rng.normal(size=(4, 3))
    expected = np.abs(members - observed).mean(axis=0)
    for a, b in itertools.permutations(range(5), 2):
        expected = expected - np.abs(members[a] - members[b]) / (2 * 5 * 4)
    np.testing.assert_allclose(rules.ensemble_crps(members, observed), expected, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 16])
def test_ensemble_crps_is_fair(size: int) -> None:
    """Idea: whatever the size of the ensemble, the mean is the score of its distribution."""
    rng = np.random.default_rng(size)
    found = rules.ensemble_crps(rng.normal(size=(size, 60000)), np.full(60000, 0.7))
    error = found.std() / np.sqrt(found.size)
    assert found.mean() == pytest.approx(crps_by_integration(0.0, 1.0, 0.7), abs=4 * error)


def test_energy_score_is_the_sum_over_pairs_and_the_crps_in_one_dimension() -> None:
    """Idea: the score is its definition, and one component is the scalar case."""
    rng = np.random.default_rng(2)
    members, observed = rng.normal(size=(6, 7, 3)), rng.normal(size=(7, 3))
    expected = np.linalg.norm(members - observed, axis=-1).mean(axis=0)
    for a, b in itertools.permutations(range(6), 2):
        expected = expected - np.linalg.norm(members[a] - members[b], axis=-1) / (2 * 6 * 5)
    np.testing.assert_allclose(rules.energy_score(members, observed), expected, atol=1e-12)
    scalar = rules.energy_score(members[..., :1], observed[..., :1])
    crps = rules.ensemble_crps(members[..., 0], observed[..., 0])
    np.testing.assert_allclose(scalar, crps, atol=1e-12)


def test_likelihood_is_that_of_scipy() -> None:
    """Idea: minus the logarithm of the normal density."""
    rng = np.random.default_rng(3)
    mean, sigma, seen = rng.normal(size=50), rng.uniform(0.1, 3, size=50), rng.normal(size=50)
    expected = -stats.norm.logpdf(seen, mean, sigma)
    np.testing.assert_allclose(rules.gaussian_nll(mean, sigma, seen), expected, atol=1e-12)


def test_displacement_probability_is_the_chi_distribution() -> None:
    """Idea: lengths of normal displacements have a known law, and their ranks are uniform."""
    distance = np.linspace(0.0, 6.0, 25)
    expected = stats.chi(3, scale=1.7 / np.sqrt(3)).cdf(distance)
    np.testing.assert_allclose(unc.displacement_probability(distance, 1.7), expected, atol=1e-12)
    drawn = np.random.default_rng(4).normal(scale=1.7 / np.sqrt(3), size=(4000, 3))
    ranks = unc.displacement_probability(np.linalg.norm(drawn, axis=1), 1.7)
    assert stats.kstest(ranks, "uniform").pvalue > 0.01


def test_calibration_error_is_read_off_the_empirical_distribution() -> None:
    """Idea: shares at the levels are those of statsmodels' empirical distribution."""
    found = np.random.default_rng(5).beta(2.0, 1.0, size=300)
    expected = np.abs(ECDF(found)(unc.LEVELS) - unc.LEVELS).mean()
    assert unc.calibration_error(found) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_calibration_error_of_a_wrong_scale_is_the_integral(factor: float) -> None:
    """Idea: a scale that is wrong by a known factor costs a known amount, a right one nothing."""
    drawn = np.linalg.norm(np.random.default_rng(6).normal(size=(40000, 3)), axis=1)
    probability = unc.displacement_probability(drawn, factor * np.sqrt(3.0))
    chi = stats.chi(3)
    expected = np.abs(chi.cdf(factor * chi.ppf(unc.LEVELS)) - unc.LEVELS).mean()
    assert unc.calibration_error(probability) == pytest.approx(expected, abs=0.006)


def test_coverage_counts_residues_and_whole_chains() -> None:
    """Idea: one residue outside costs its share of residues, but the whole chain."""
    errors = [np.array([0.5, -0.9, 0.1]), np.array([2.0, 0.1])]
    widths = [np.array([1.0, 0.9, 0.2]), np.array([1.9, 1.0])]
    assert unc.coverage(np.concatenate(errors), np.concatenate(widths)) == pytest.approx(0.8)
    assert unc.simultaneous_coverage(errors, widths) == 0.5
    assert unc.simultaneous_coverage(errors, [1.0, 2.0]) == 1.0


def test_sup_score_is_the_narrowest_band_that_holds() -> None:
    """Idea: a band of the score holds the chain, any narrower one does not."""
    rng = np.random.default_rng(7)
    error, sigma = rng.normal(size=80), rng.uniform(0.2, 2.0, size=80)
    score = unc.sup_score(error, sigma)
    assert unc.simultaneous_coverage([error], [score * sigma * (1 + 1e-12)]) == 1.0
    assert unc.simultaneous_coverage([error], [score * sigma * (1 - 1e-9)]) == 0.0


def test_conformal_quantile_is_the_order_statistic() -> None:
    """Idea: ranks worked out by hand, too few scores give no bound."""
    scores = np.random.default_rng(8).permutation(np.arange(1.0, 20.0))
    assert unc.conformal_quantile(scores, 0.1) == 18.0
    assert unc.conformal_quantile(scores, 0.05) == 19.0
    assert unc.conformal_quantile(scores, 0.5) == 10.0
    assert unc.conformal_quantile(scores, 0.04) == np.inf
    assert unc.conformal_quantile(np.arange(1.0, 10.0), 0.1) == 9.0


def test_conformal_bands_cover_as_promised() -> None:
    """Idea: over many calibrations, coverage of a new score is between the two known bounds."""
    rng = np.random.default_rng(9)
    bounds = np.array([unc.conformal_quantile(rng.gamma(2.0, size=49), 0.1) for _ in range(3000)])
    covered = stats.gamma(2.0).cdf(bounds)
    error = covered.std() / np.sqrt(covered.size)
    assert 0.9 - 4 * error <= covered.mean() <= 0.9 + 1 / 50 + 4 * error
    # realized coverage of one calibration follows a beta distribution
    assert stats.kstest(covered, stats.beta(45, 5).cdf).pvalue > 0.001


def test_spread_skill_ratio_is_one_when_the_spread_is_right() -> None:
    """Idea: errors drawn with the predicted deviations give one, doubled predictions two."""
    rng = np.random.default_rng(10)
    sigma = rng.uniform(0.5, 3.0, size=50000)
    error = rng.normal(scale=sigma)
    assert unc.spread_skill_ratio(error, sigma) == pytest.approx(1.0, abs=0.02)
    assert unc.spread_skill_ratio(error, 2 * sigma) == pytest.approx(2.0, abs=0.04)


def sparsification_by_hand(sigma: np.ndarray, error: np.ndarray) -> float:
    """Leave residues out one by one and average what is left, for values without ties."""
    size = np.abs(error)
    gaps = []
    for left_out in range(len(size)):
        keep = len(size) - left_out
        predicted = size[np.argsort(sigma)[:keep]].mean()
        gaps.append(predicted - np.sort(size)[:keep].mean())
    return float(np.mean(gaps) / size.mean())


def test_sparsification_error_is_the_area_between_the_curves() -> None:
    """Idea: the running sums are the loop, and the ends are the best and a blind order."""
    rng = np.random.default_rng(11)
    error, sigma = rng.normal(size=60), rng.uniform(size=60)
    found = unc.sparsification_error(error, sigma)
    assert found == pytest.approx(sparsification_by_hand(sigma, error), abs=1e-12)
    assert unc.sparsification_error(error, np.abs(error)) == pytest.approx(0.0, abs=1e-12)
    blind = unc.sparsification_error(error, np.ones(60))
    orders = [sparsification_by_hand(rng.permutation(60), error) for _ in range(400)]
    assert blind == pytest.approx(np.mean(orders), abs=0.02)
    assert unc.sparsification_error(error, -np.abs(error)) > blind


def test_rank_correlation_is_that_of_scipy_with_a_bootstrap_over_chains() -> None:
    """Idea: the value is scipy's; the interval is that of drawing whole chains with replacement."""
    rng = np.random.default_rng(12)
    sigmas = [rng.gamma(2.0, size=rng.integers(5, 12)) for _ in range(25)]
    errors = [np.round(rng.normal(scale=sigma), 1) for sigma in sigmas]
    found = unc.rank_correlation(errors, sigmas, resamples=2000)
    pooled = np.concatenate(sigmas), np.abs(np.concatenate(errors))
    assert found.value == pytest.approx(stats.spearmanr(*pooled).statistic, abs=1e-12)
    drawn = []
    for _ in range(2000):
        pick = rng.integers(25, size=25)
        sigma = np.concatenate([sigmas[k] for k in pick])
        error = np.abs(np.concatenate([errors[k] for k in pick]))
        drawn.append(stats.spearmanr(sigma, error).statistic)
    np.testing.assert_allclose(found[1:], np.quantile(drawn, (0.025, 0.975)), atol=0.02)
    assert np.isnan(unc.rank_correlation([np.arange(5.0)], [np.ones(5)]).value)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: rules.gaussian_crps(0.0, 0.0, 1.0),
        lambda: rules.gaussian_nll(0.0, 1.0, np.nan),
        lambda: rules.ensemble_crps(np.zeros((1, 3)), np.zeros(3)),
        lambda: rules.energy_score(np.zeros((4, 2, 3)), np.zeros((3, 3))),
        lambda: unc.calibration_error([]),
        lambda: unc.calibration_error([0.5, 1.2]),
        lambda: unc.conformal_quantile([1.0, 2.0], 1.0),
        lambda: unc.simultaneous_coverage([], []),
        lambda: unc.coverage([], []),
        lambda: unc.sup_score([], []),
        lambda: unc.spread_skill_ratio([0.0], [1.0]),
        lambda: unc.sparsification_error([0.0, 0.0], [1.0, 2.0]),
        lambda: unc.rank_correlation([], []),
        lambda: unc.rank_correlation([np.ones(3)], [np.ones(4)]),
    ],
)
def test_what_has_no_answer_is_refused(wrong) -> None:
    """Idea: no number comes out where none is defined."""
    with pytest.raises(ProteinLabError):
        wrong()
