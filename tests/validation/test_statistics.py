"""Intervals hold the truth as often as they say."""

import numpy as np
import pytest

from mlff_distiller.validation.statistics import absolute_interval, mean_interval, segment_interval, student_t_factor


def rmse(sums: np.ndarray) -> np.ndarray:
    return np.sqrt(sums[..., 0] / sums[..., 1])


@pytest.mark.parametrize("n_segments", [3, 6, 20])
def test_segment_interval_covers_the_true_error_of_correlated_frames(n_segments: int) -> None:
    rng = np.random.default_rng(n_segments)
    n_frames, covered, trials = 10, 0, 300
    truth = np.sqrt(np.exp(2 * 0.4**2))  # frames of a segment share a log-normal scale of width 0.4
    for _ in range(trials):
        scale = np.exp(0.4 * rng.standard_normal((n_segments, 1)))
        errors = scale * rng.standard_normal((n_segments, n_frames))
        sums = np.column_stack([(errors**2).sum(1), np.full(n_segments, n_frames)])
        _, (low, high) = segment_interval(sums, rmse, rng=rng, n_resamples=400)
        covered += low <= truth <= high
    assert covered / trials >= 0.90


def test_segment_interval_is_wider_than_one_that_takes_frames_as_independent() -> None:
    rng = np.random.default_rng(0)
    scale = np.exp(0.5 * rng.standard_normal((8, 1)))
    squares = (scale * rng.standard_normal((8, 50))) ** 2
    whole = np.column_stack([squares.sum(1), np.full(8, 50)])
    frames = np.column_stack([squares.ravel(), np.ones(400)])
    width = [np.ptp(segment_interval(s, rmse, rng=np.random.default_rng(1))[1]) for s in (whole, frames)]
    assert width[0] > 2 * width[1]


def test_segment_interval_of_one_segment_is_undefined_and_of_none_is_nan() -> None:
    one = np.array([[4.0, 1.0]])
    assert segment_interval(one, rmse, rng=np.random.default_rng(0)) == (2.0, None)
    value, interval = segment_interval(one[:0], rmse, rng=np.random.default_rng(0))
    assert np.isnan(value)
    assert interval is None


def test_segment_interval_of_perfect_agreement_is_zero() -> None:
    sums = np.array([[0.0, 1.0], [0.0, 1.0]])
    assert segment_interval(sums, rmse, rng=np.random.default_rng(0)) == (0.0, (0.0, 0.0))


def test_segment_interval_stays_positive_when_some_segments_are_perfect() -> None:
    sums = np.array([[0.0, 1.0], [0.0, 1.0], [9.0, 1.0]])
    value, (low, high) = segment_interval(sums, rmse, rng=np.random.default_rng(0))
    assert 0 <= low < value < high


def test_an_infinite_error_has_an_infinite_interval() -> None:
    sums = np.array([[np.inf, 1.0], [1.0, 1.0]])
    assert segment_interval(sums, rmse, rng=np.random.default_rng(0)) == (np.inf, (np.inf, np.inf))


def test_mean_interval_covers_the_true_mean_of_three_replicas() -> None:
    rng = np.random.default_rng(0)
    hits = [low <= 1.0 <= high for _, (low, high) in (mean_interval(1 + rng.standard_normal(3)) for _ in range(1000))]
    assert 0.93 <= np.mean(hits) <= 0.97


@pytest.mark.parametrize("samples", [[1.0], [1.0, np.nan], [np.inf, 1.0]])
def test_mean_interval_is_undefined_for_one_sample_or_a_failed_replica(samples: list[float]) -> None:
    assert mean_interval(np.array(samples))[1] is None


def test_student_t_matches_the_table() -> None:
    assert student_t_factor(2) == pytest.approx(12.7062, abs=1e-4)


@pytest.mark.parametrize(
    ("interval", "expected"), [((-2, 1), (0, 2)), ((1, 2), (1, 2)), ((-2, -1), (1, 2)), ((0, 0), (0, 0))]
)
def test_absolute_interval_is_the_image_of_the_interval(interval: tuple, expected: tuple) -> None:
    assert absolute_interval(interval) == expected
