#!/usr/bin/env python3
"""Write test/golden/gguf: random blocks of each quantized type, and what ggml's own gguf package makes of them.

    python3 scripts/golden/make_gguf.py test/golden/gguf

Needs gguf, numpy and safetensors.
"""

import argparse
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize
from safetensors.numpy import save_file

ROWS, SUPERBLOCK = 2, 256
# Where a block of each type has values of f16: others may be any bytes.
HALVES = {
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q8_0": [0],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
    "IQ4_NL": [0],
    "IQ4_XS": [0],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    rng = np.random.default_rng(1)
    writer = gguf.GGUFWriter(out / "blocks.gguf", "blocks")
    writer.add_uint8("test.uint8", 200)
    writer.add_int8("test.int8", -100)
    writer.add_uint16("test.uint16", 60_000)
    writer.add_int16("test.int16", -30_000)
    writer.add_uint32("test.uint32", 4_000_000_000)
    writer.add_int32("test.int32", -2_000_000_000)
    writer.add_float32("test.float32", 0.5)
    writer.add_bool("test.bool", True)
    writer.add_string("test.string", "naïve ▁")
    writer.add_uint64("test.uint64", 2**53 - 1)
    writer.add_int64("test.int64", -(2**53) + 1)
    writer.add_float64("test.float64", 1e300)
    writer.add_array("test.strings", ["a", "", "ü"])
    writer.add_array("test.numbers", [1, -2, 3])
    values = {}
    for name, halves in HALVES.items():
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (ROWS * SUPERBLOCK // elements, size), dtype=np.uint8)
        for at in halves:
            scale = rng.normal(0, 0.01, len(blocks)).astype(np.float16)
            blocks[:, at : at + 2] = scale.view(np.uint8).reshape(-1, 2)
        raw = blocks.reshape(ROWS, -1)
        writer.add_tensor(name, raw, raw_dtype=kind)
        values[name] = dequantize(raw, kind).astype(np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(values, out / "blocks.safetensors")


if __name__ == "__main__":
    main()
