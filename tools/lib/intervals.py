# SPDX-License-Identifier: Apache-2.0
"""Ratios of paired measurements with an interval: the median of the rounds' ratios and its percentile bootstrap.

A round measures both sides once, one right after the other, so that what the machine does meanwhile touches both. Rounds are
drawn with replacement RESAMPLES times; the interval holds the middle 95 % of the medians. The seed is fixed: the same
figures give the same interval.
"""
import random
import statistics

RESAMPLES = 4000
ROUNDS_LEAST = 6  # with fewer, the resampled medians hardly spread, and chance is taken for a difference
SHARE = 0.95
METHOD = f"median of the rounds' ratios, {SHARE:.0%} percentile bootstrap, {RESAMPLES} resamples"


def interval(ratios):
    """(median, low, high) of a round's ratios."""
    if not ratios:
        raise ValueError("no ratios")
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    cut = int(RESAMPLES * (1 - SHARE) / 2)
    return statistics.median(ratios), medians[cut], medians[-1 - cut]


def paired(base, change):
    """The ratio change / base over rounds that measured both."""
    if len(base) != len(change):
        raise ValueError("as many measurements of either side")
    return interval([c / b for b, c in zip(base, change)])


def verdict(rounds, low, high, less="cheaper", more="dearer"):
    if rounds < ROUNDS_LEAST:
        return f"no verdict below {ROUNDS_LEAST} rounds"
    if high < 1:
        return less
    return more if low > 1 else "no difference shown"
