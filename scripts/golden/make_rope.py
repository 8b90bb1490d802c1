"""Writes test/golden/rope.json: inverse frequencies and attention factors of RoPE in float32, computed with the formulas
of transformers' modeling_rope_utils.py, for configs in the spellings of transformers 4 and 5.

usage: python3 scripts/golden/make_rope.py [--check]   (needs numpy)
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

PATH = Path(__file__).resolve().parents[2] / "test" / "golden" / "rope.json"
F = np.float32


def inverse_frequencies(theta, dim):
    return F(1) / F(theta) ** (np.arange(0, dim, 2).astype(F) / F(dim))


def default(p, dim, length):
    return inverse_frequencies(p["theta"], dim), 1.0


def linear(p, dim, length):
    return inverse_frequencies(p["theta"], dim) / F(p["factor"]), 1.0


def proportional(p, dim, length):
    head_dim = p["head_dim"]
    angles = int(p["partial"] * head_dim // 2)
    rotated = F(1) / F(p["theta"]) ** (np.arange(0, 2 * angles, 2).astype(F) / F(head_dim))
    still = np.zeros(head_dim // 2 - angles, F)
    return np.concatenate([rotated, still]) / F(p.get("factor", 1.0)), 1.0


def dynamic(p, dim, length):
    longest, factor = p["max_positions"], p["factor"]
    stretch = factor * max(length, longest) / longest - (factor - 1)
    return inverse_frequencies(p["theta"] * stretch ** (dim / (dim - 2)), dim), 1.0


def yarn(p, dim, length):
    original = p.get("original", p["max_positions"])
    factor = p.get("factor") or p["max_positions"] / original
    theta = p["theta"]

    def scaled(by=1.0):
        return 1.0 if factor <= 1 else 0.1 * by * math.log(factor) + 1.0

    attention_factor = p.get("attention_factor")
    if attention_factor is None:
        both = p.get("mscale") and p.get("mscale_all_dim")
        attention_factor = scaled(p["mscale"]) / scaled(p["mscale_all_dim"]) if both else scaled()

    def dimension_of(rotations):
        return dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension_of(p.get("beta_fast", 32)), dimension_of(p.get("beta_slow", 1))
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    high = high + 0.001 if low == high else high
    ramp = np.clip((np.arange(dim // 2).astype(F) - F(low)) / F(high - low), F(0), F(1))
    powers = F(theta) ** (np.arange(0, dim, 2).astype(F) / F(dim))
    extrapolated = F(1) - ramp
    interpolation = F(1) / (F(factor) * powers) * (F(1) - extrapolated)
    return interpolation + F(1) / powers * extrapolated, attention_factor


def llama3(p, dim, length):
    frequencies = inverse_frequencies(p["theta"], dim)
    factor, low, high = p["factor"], p["low_freq_factor"], p["high_freq_factor"]
    original = p.get("original", p["max_positions"])
    wavelengths = F(2 * math.pi) / frequencies
    slowed = np.where(wavelengths > original / low, frequencies / F(factor), frequencies)
    smooth = (F(original) / wavelengths - F(low)) / F(high - low)
    between = (F(1) - smooth) * slowed / F(factor) + smooth * slowed
    medium = ~(wavelengths < original / high) & ~(wavelengths > original / low)
    return np.where(medium, between, slowed), 1.0


def longrope(p, dim, length):
    original = p.get("original", p["max_positions"])
    factor = p.get("factor") or p["max_positions"] / original
    attention_factor = p.get("attention_factor")
    if attention_factor is None:
        attention_factor = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
    factors = np.array(p["long_factor" if length > original else "short_factor"], F)
    return F(1) / (factors * F(p["theta"]) ** (np.arange(0, dim, 2).astype(F) / F(dim))), attention_factor


FORMULAS = {f.__name__: f for f in (default, linear, proportional, dynamic, yarn, llama3, longrope)}

RAMP = [1 + i / 4 for i in range(16)]
LONG = [1 + i for i in range(16)]

# (name, config.json, head_dim, share of a head that is rotated, class default of that share)
CASES = [
    ("transformers 5, default", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e11}}, 64),
    ("transformers 4, default", {"rope_theta": 500000.0}, 128),
    ("no key at all", {}, 32),
    ("a null for scaling", {"rope_theta": 10000, "rope_scaling": None}, 80),
    ("partial, inside", {"rope_parameters": {"rope_theta": 1e7, "partial_rotary_factor": 0.25}}, 256),
    ("partial, beside", {"rope_theta": 10000.0, "partial_rotary_factor": 0.4}, 80),
    ("linear", {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 2.3}}, 64),
    ("linear of a part", {"rope_parameters": {"rope_type": "linear", "factor": 8.0, "partial_rotary_factor": 0.5}}, 64),
    ("dynamic", {"rope_theta": 10000.0, "rope_scaling": {"rope_type": "dynamic", "factor": 4.0}}, 64),
    ("proportional", {"rope_parameters": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25}}, 64),
    ("proportional, slowed", {"rope_parameters": {"rope_type": "proportional", "partial_rotary_factor": 0.3, "factor": 2.0}}, 64),
    ("yarn", {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}}, 128),
    ("yarn without a factor", {"rope_parameters": {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 1024}}, 64),
    ("yarn, original beside", {"original_max_position_embeddings": 2048, "rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, 64),
    (
        "yarn, mscale",
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 40, "original_max_position_embeddings": 4096,
                             "mscale": 0.707, "mscale_all_dim": 1.5, "beta_fast": 16, "beta_slow": 2}},
        64,
    ),
    (
        "yarn, not truncated",
        {"rope_parameters": {"rope_type": "yarn", "factor": 32.0, "original_max_position_embeddings": 4096, "truncate": False,
                             "attention_factor": 1.25, "rope_theta": 150000}},
        64,
    ),
    (
        "llama3",
        {"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                                                  "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}},
        128,
    ),
    (
        "llama3 without the original length",
        {"rope_parameters": {"rope_type": "llama3", "factor": 3.0, "low_freq_factor": 1.0, "high_freq_factor": 2.0}},
        64,
    ),
    (
        "longrope, long",
        {"rope_scaling": {"type": "longrope", "short_factor": RAMP, "long_factor": LONG,
                          "original_max_position_embeddings": 4096}},
        32,
    ),
    (
        "longrope, short",
        {"rope_parameters": {"rope_type": "longrope", "short_factor": RAMP, "long_factor": LONG, "factor": 2.0}},
        32,
    ),
    (
        "longrope, attention factor",
        {"rope_parameters": {"rope_type": "longrope", "short_factor": RAMP, "long_factor": LONG,
                             "original_max_position_embeddings": 512, "attention_factor": 1.1}},
        32,
    ),
]

MAX_POSITIONS = 16384


def parameters_of(config, head_dim):
    nested = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    kind = nested.pop("rope_type", None) or nested.pop("type", None) or "default"
    nested.pop("type", None)
    theta = nested.pop("rope_theta", config.get("rope_theta", 10000.0))
    partial = nested.pop("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    original = nested.pop("original_max_position_embeddings", None)
    original = config.get("original_max_position_embeddings", original)
    p = {**nested, "theta": theta, "partial": partial, "head_dim": head_dim, "max_positions": MAX_POSITIONS}
    return kind, p if original is None else {**p, "original": original}


def main():
    rows = []
    for name, config, head_dim in CASES:
        kind, p = parameters_of(config, head_dim)
        dim = int(head_dim * p["partial"])
        frequencies, attention_factor = FORMULAS[kind](p, dim, MAX_POSITIONS)
        rows.append(
            {
                "name": name,
                "config": config,
                "headDim": head_dim,
                "rotaryDim": head_dim if kind == "proportional" else dim,
                "attentionFactor": attention_factor,
                "invFreq": [float(f"{x:.9g}") for x in frequencies.tolist()],
            }
        )
    lines = ",\n".join(json.dumps(row) for row in rows)
    text = f'{{"maxPositions": {MAX_POSITIONS}, "cases": [\n{lines}\n]}}\n'
    if "--check" in sys.argv:
        sys.exit(0 if PATH.read_text() == text else f"{PATH} differs from what this script writes")
    PATH.write_text(text)


if __name__ == "__main__":
    main()
