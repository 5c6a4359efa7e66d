"""Variants that are seen together can be told apart, whoever looks at them on whatever theme."""

from itertools import combinations
from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

import numpy as np
import pytest

from app.analysis.colors import PALETTE, Theme, colors_of
from cct.catalog import poolings

PAGES: dict[Theme, str] = {"light": "#FFFFFF", "dark": "#1E2125"}
"""What charts are drawn on, as in `frontend/src/app.css`."""
FEWEST = {"normal": 21.0, "deuteranopia": 16.0, "protanopia": 16.0}
"""CIEDE2000. About 2 is just noticed side by side, 10 at a glance."""

# G. M. Machado et al., A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009: severity 1.
SIGHT = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}
XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def linear(color: str) -> np.ndarray:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def lab(color: str, sight: str = "normal") -> tuple[float, float, float]:
    """CIELAB under D65 of what somebody of that sight sees."""
    t = XYZ @ np.clip(SIGHT[sight] @ linear(color), 0, 1) / (0.95047, 1, 1.08883)
    x, y, z = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    """CIEDE2000 as in G. Sharma et al., The CIEDE2000 Color-Difference Formula, 2005."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    c = (hypot(a1, b1) + hypot(a2, b2)) / 2
    g = 0.5 * (1 - sqrt(c**7 / (c**7 + 25**7)))
    a1, a2 = a1 * (1 + g), a2 * (1 + g)
    c1, c2, h1, h2 = hypot(a1, b1), hypot(a2, b2), degrees(atan2(b1, a1)) % 360, degrees(atan2(b2, a2)) % 360
    turn = 0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    hue = 2 * sqrt(c1 * c2) * sin(radians(turn / 2))
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    h = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    t = 1 - 0.17 * cos(radians(h - 30)) + 0.24 * cos(radians(2 * h))
    t += 0.32 * cos(radians(3 * h + 6)) - 0.2 * cos(radians(4 * h - 63))
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * t
    r = -2 * sqrt(chroma**7 / (chroma**7 + 25**7)) * sin(radians(60 * exp(-(((h - 275) / 25) ** 2))))
    by_chroma, by_hue = (c2 - c1) / s_c, hue / s_h
    return sqrt(((l2 - l1) / s_l) ** 2 + by_chroma**2 + by_hue**2 + r * by_chroma * by_hue)


@pytest.mark.parametrize(
    ("one", "other", "published"),
    [
        ((50.0000, 2.6772, -79.7751), (50.0000, 0.0000, -82.7485), 2.0425),
        ((50.0000, -1.0000, 2.0000), (50.0000, 0.0000, 0.0000), 2.3669),
        ((50.0000, 2.4900, -0.0010), (50.0000, -2.4900, 0.0011), 7.2195),
        ((50.0000, 2.5000, 0.0000), (73.0000, 25.0000, -18.0000), 27.1492),
        ((50.0000, 2.5000, 0.0000), (58.0000, 24.0000, 15.0000), 19.4535),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_measure_of_this_file_gives_the_published_distances(
    one: tuple[float, float, float], other: tuple[float, float, float], published: float
) -> None:
    assert distance(one, other) == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", list(SIGHT))
def test_any_eight_poolings_are_told_apart_by_their_colours(theme: Theme, sight: str) -> None:
    between = {
        frozenset((one, other)): distance(lab(one, sight), lab(other, sight))
        for one, other in combinations([pair[theme == "dark"] for pair in PALETTE], 2)
    }
    for size in range(2, len(PALETTE) + 1):
        for shown in combinations(poolings(), size):
            seen = [color.on(theme) for color in colors_of(shown, poolings()).values()]
            assert len(set(seen)) == size, f"{shown} share a colour"
            assert min(between[frozenset(pair)] for pair in combinations(seen, 2)) >= FEWEST[sight], shown


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_colour_stands_out_from_its_page(theme: Theme) -> None:
    luminance = {
        color: float(XYZ[1] @ linear(color)) for color in [PAGES[theme], *(p[theme == "dark"] for p in PALETTE)]
    }
    page = luminance.pop(PAGES[theme])
    for color, own in luminance.items():
        high, low = max(own, page), min(own, page)
        assert (high + 0.05) / (low + 0.05) >= 3, f"{color}: WCAG asks for 3 to 1 of what is no text"


def test_variants_beyond_eight_differ_by_marker_and_dash_and_keep_their_colours_as_far_as_that_allows() -> None:
    known = list(poolings())
    all_of_them = colors_of([*known, "gone"], known)
    assert len({(color.light, color.symbol) for color in all_of_them.values()}) == len(known) + 1
    assert len({(color.dark, color.dash) for color in all_of_them.values()}) == len(known) + 1
    assert colors_of(known[:3], known) == {name: all_of_them[name] for name in known[:3]}
    assert colors_of(known[9:10], known)[known[9]].light == all_of_them[known[9]].light
    assert len({color.light for color in colors_of([known[1], known[9]], known).values()}) == 2
    assert list(colors_of(["0.1", "0.2"]).values()) == [all_of_them[name] for name in known[:2]]
