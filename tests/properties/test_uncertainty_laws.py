"""Laws that measures of uncertainty keep for all data."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protein_lab.metrics import scoring_rules as rules
from protein_lab.metrics import uncertainty as unc

SEEDS = st.integers(min_value=0, max_value=2**32 - 1)
SCALES = st.floats(min_value=1e-3, max_value=1e3)
some = settings(max_examples=40, deadline=None)


def predictions(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw standard deviations and errors of 2 to 60 residues, now and then with ties."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 60))
    sigma = rng.gamma(2.0, size=size) + 0.01
    error = rng.normal(scale=sigma) + 1e-6
    if rng.random() < 0.5:
        sigma, error = np.ceil(sigma * 2) / 2, np.ceil(error * 2) / 2 + 0.1
    return error, sigma


@some
@given(SEEDS, SCALES)
def test_units_of_length_do_not_matter(seed: int, scale: float) -> None:
    """Scores in angstrom scale with the unit; ratios, ranks and probabilities do not change."""
    error, sigma = predictions(seed)
    members = np.random.default_rng(seed).normal(size=(4, len(error)))
    np.testing.assert_allclose(
        rules.gaussian_crps(0.0, scale * sigma, scale * error),
        scale * rules.gaussian_crps(0.0, sigma, error), rtol=1e-9, atol=1e-9 * scale,
    )  # fmt: skip
    np.testing.assert_allclose(
        rules.ensemble_crps(scale * members, scale * error),
        scale * rules.ensemble_crps(members, error), rtol=1e-9, atol=1e-9 * scale,
    )  # fmt: skip
    shift = rules.gaussian_nll(0.0, scale * sigma, scale * error) - np.log(scale)
    np.testing.assert_allclose(shift, rules.gaussian_nll(0.0, sigma, error), atol=1e-8)
    for measure in (unc.sup_score, unc.spread_skill_ratio, unc.sparsification_error):
        np.testing.assert_allclose(measure(scale * error, scale * sigma), measure(error, sigma))


@some
@given(SEEDS)
def test_scores_have_their_bounds(seed: int) -> None:
    """CRPS is between zero and the absolute error plus the spread; areas are not negative."""
    error, sigma = predictions(seed)
    crps = rules.gaussian_crps(0.0, sigma, error)
    assert (crps > 0).all()
    assert (crps <= np.abs(error) + sigma).all()
    assert unc.sparsification_error(error, sigma) >= -1e-12
    ranks = unc.displacement_probability(np.abs(error), sigma)
    assert 0.0 <= unc.calibration_error(ranks) <= 0.5 + 1e-12


@some
@given(SEEDS)
def test_the_order_of_residues_does_not_matter(seed: int) -> None:
    """Figures over residues depend on the set of residues alone, with ties too."""
    error, sigma = predictions(seed)
    order = np.random.default_rng(seed).permutation(len(sigma))
    for measure in (unc.sup_score, unc.spread_skill_ratio, unc.sparsification_error):
        mixed = measure(error[order], sigma[order])
        np.testing.assert_allclose(mixed, measure(error, sigma), rtol=1e-9)


@some
@given(SEEDS, st.floats(min_value=0.01, max_value=0.99))
def test_a_wider_level_gives_a_wider_band(seed: int, level: float) -> None:
    """The conformal bound falls with the miscoverage and holds its share of the scores."""
    scores = np.random.default_rng(seed).gamma(2.0, size=37)
    bound = unc.conformal_quantile(scores, level)
    assert unc.conformal_quantile(scores, level / 2) >= bound
    assert (scores <= bound).mean() >= 1.0 - level - 1e-9
    if np.isfinite(bound):
        assert (scores < bound).sum() <= 38 * (1.0 - level)


@some
@given(SEEDS)
def test_rank_correlation_sees_only_ranks(seed: int) -> None:
    """A monotonic change of either side changes nothing; a reversed order changes the sign."""
    error, sigma = predictions(seed)
    found = unc.rank_correlation([error], [sigma], resamples=0).value
    bent = unc.rank_correlation([error**3], [np.log(sigma)], resamples=0).value
    turned = unc.rank_correlation([error], [-sigma], resamples=0).value
    np.testing.assert_allclose(bent, found, atol=1e-12)
    np.testing.assert_allclose(turned, -found, atol=1e-12)
