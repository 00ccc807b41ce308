"""Guesses the frame rate of files that have seconds only: a rate at which the keys of their clips lie on frames."""

from dataclasses import dataclass

import numpy as np

# Tried in this order when the keys are too few or too far apart to show a rate; frames per second.
_COMMON = (24.0, 30.0, 25.0, 60.0, 50.0, 120.0)
# Keys at a slower rate were set by hand, unless many of them have even distances.
_SLOWEST, _MANY = 10.0, 8
# The fastest rate for keys that are not on every frame, since two of them may be close by chance.
_FASTEST = 240.0
# The slowest and the fastest rate, as in BVH files.
_POSSIBLE = (1e-3, 1e4)
# The error of a time stored as a 32-bit float, per second of it.
_FLOAT_ERROR = 2.4e-7


@dataclass(frozen=True)
class Curve:
    """The times of the keys of one animated value."""

    times: np.ndarray  # seconds, ascending, at least one
    smooth: bool = False


@dataclass(frozen=True)
class _Vote:
    """A rate that fits the keys of a clip: frames per second, the number of those keys, and their span in seconds."""

    rate: float
    keys: int
    span: float


def rate(clips: list[list[Curve]]) -> float | None:
    """The frames per second of clips, each a list of curves; None when the keys show none.

    It is the rate on whose frames most keys lie: 60 where some clips have 30 and others 60.
    """
    known = [(_densest(curves).times, vote) for curves in clips if curves and (vote := _vote(curves))]
    if not known:
        # The first common rate on whose frames all keys lie.
        times = np.concatenate([np.empty(0), *(curve.times for curves in clips for curve in curves)])
        return next((each for each in _COMMON if len(times) and _whole(times * each, each, times)), None)
    # Any two keys have a rate, so clips with more keys decide.
    votes = [vote for _times, vote in known if vote.keys > 2] or [vote for _times, vote in known]
    # Of equal rates the longest clip's is the most exact.
    candidates = {round(vote.rate, 3): vote for vote in sorted(votes, key=lambda vote: vote.span)}

    def merit(vote: _Vote) -> tuple[int, int, float]:
        fitting = sum(other.keys for times, other in known if _fits(times, vote.rate))
        same = sum(other.keys for _times, other in known if abs(other.rate / vote.rate - 1) < 1e-3)
        return fitting, same, vote.span

    return max(candidates.values(), key=merit).rate


def tolerance(rate: float, seconds: np.ndarray) -> np.ndarray:
    """How far, in frames, a key may be from its frame: some writers round to milliseconds, and all to floats."""
    return np.minimum(0.1, np.maximum(0.01, 0.001 * rate) + _FLOAT_ERROR * rate * np.abs(seconds))


def _vote(curves: list[Curve]) -> _Vote | None:
    times = np.unique(np.concatenate([curve.times for curve in curves]))
    densest = _densest(curves)
    return _vote_for(times, any(curve.smooth for curve in curves)) or _vote_for(densest.times, densest.smooth)


def _densest(curves: list[Curve]) -> Curve:
    return max(curves, key=lambda curve: len(curve.times))


def _vote_for(times: np.ndarray, smooth: bool) -> _Vote | None:
    # Times of one frame in different curves differ by the error of floats.
    times = times[np.diff(times, prepend=-np.inf) > 1e-6 + _FLOAT_ERROR * np.abs(times)]
    if len(times) == 1 and times[0] > 0:
        # The only frame: Blender and others call it frame 1.
        found = _rounded(1 / float(times[0]), times)
        return _Vote(found, 1, 0.0) if _SLOWEST <= found <= _POSSIBLE[1] else None
    if len(times) < 2:
        return None
    steps = np.diff(times)
    span = float(times[-1] - times[0])
    counts = np.round(steps / steps[steps < 1.5 * steps.min()].mean())
    found = _rounded(float(counts.sum()) / span, times)
    if not _fits(times, found):
        return None
    slowest, fastest = _SLOWEST, _FASTEST
    if counts.max() <= 1 and len(times) > 2:
        slowest, fastest = _POSSIBLE[0] if len(times) >= _MANY and not smooth else _SLOWEST, _POSSIBLE[1]
    return _Vote(found, len(times), span) if slowest <= found <= fastest else None


def _rounded(rate: float, times: np.ndarray) -> float:
    """The nearest common rate within the error of floats: 29.97 stays apart from 30."""
    latest = max(abs(float(times[0])), abs(float(times[-1])))
    inexact = 1e-6 + _FLOAT_ERROR * latest / (float(times[-1] - times[0]) or latest)
    for near in (round(rate), round(rate * 1.001) / 1.001, 1 / max(round(1 / rate), 1)):
        if near and abs(near / rate - 1) < inexact:
            return float(near)
    return rate


def _fits(times: np.ndarray, rate: float) -> bool:
    return _whole((times - times[0]) * rate, rate, times)


def _whole(frames: np.ndarray, rate: float, times: np.ndarray) -> bool:
    return bool((np.abs(frames - np.round(frames)) <= tolerance(rate, times)).all())
