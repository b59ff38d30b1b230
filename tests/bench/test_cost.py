"""What activations cost, against figures that were published elsewhere."""

from __future__ import annotations

import argparse
import re

import pytest

from bench.report import cost

PRESETS = cost.presets()


@pytest.mark.parametrize(
    ("ms", "billed", "free"),
    [(316, 400, 4_000_000), (1260, 1300, 1_230_769)],  # the article says 1,200,000
)
def test_the_articles_figures(ms: float, billed: float, free: int) -> None:
    article = PRESETS["article"]
    assert article.billed(ms) == billed
    assert article.free(ms, 256) == free
    assert article.million(ms, 256) == pytest.approx(billed / 1000 * 0.25 * 17)


@pytest.mark.parametrize(
    ("invocations", "memory", "ms", "dollars"),
    [
        (3_600_000, 256, 100, 0),
        (10_000_000, 512, 100, 7.59),  # 7.585
        (15_000_000, 512, 200, 26.08),
        (20_000_000, 1024, 500, 183.33),
    ],
)
def test_digitaloceans_examples(invocations: int, memory: int, ms: float, dollars: float) -> None:
    """Those of its page of prices: what is used beyond what is free."""
    prices = PRESETS["digitalocean"]
    paid = invocations - prices.free(ms, memory)
    assert paid / 1e6 * prices.million(ms, memory) == pytest.approx(dollars, abs=0.006)
    assert prices.billed(3) == prices.billed(100) == 100
    assert prices.billed(100.2) == 101


def test_lambda_has_a_price_per_request() -> None:
    """AWS's example, as its page had it: 3 million of 1 s with 512 MB are $18.34 and $0.40."""
    prices = PRESETS["aws-lambda"]
    seconds = 3 * (prices.million(1000, 512) - prices.million_requests)
    assert seconds - 400_000 * prices.gb_second == pytest.approx(18.34, abs=0.01)
    assert 2 * prices.million_requests == pytest.approx(0.40)
    assert prices.free(1000, 512) == 800_000  # by GB-s
    assert prices.free(5, 128) == 1_000_000  # by requests
    assert prices.billed(5.01) == 6


def test_presets_say_where_from_and_when() -> None:
    for prices in PRESETS.values():
        assert prices.source.startswith("https://")
        assert re.fullmatch(r"20\d\d-\d\d(-\d\d)?", prices.date)


def test_the_least_memory_leaves_room_for_the_proxy() -> None:
    assert cost.least(45_000_000) == 128
    room = 128 * 2**20 - cost.PROXY
    assert (cost.least(room), cost.least(room + 1)) == (128, 256)
    assert cost.least(2e9) is None


def parsed(*arguments: str) -> dict[str, float | None]:
    parser = argparse.ArgumentParser()
    cost.add_options(parser)
    return cost.given(parser.parse_args(arguments))


def test_prices_of_ones_own() -> None:
    assert cost.lists(parsed()) == cost.lists({}) == list(PRESETS.values())
    assert cost.lists(parsed("--price-memory", "512")) == list(PRESETS.values())
    own, *others = cost.lists(parsed("--price-step", "1", "--price-minimum", "10"))
    assert others == list(PRESETS.values())
    assert own.gb_second == PRESETS["article"].gb_second
    assert (own.billed(5), own.billed(10.5)) == (10, 11)
    assert not own.source


@pytest.mark.parametrize("wrong", [("step", "0"), ("gb-second", "-1"), ("minimum", "nan")])
def test_prices_that_make_no_sense(wrong: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        parsed(f"--price-{wrong[0]}", wrong[1])
