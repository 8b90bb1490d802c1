#!/usr/bin/env python3
"""Writes test/golden/torch: what torch.save makes of state dicts.

    python3 scripts/golden/make_torch.py      (Debian: apt-get install python3-torch; written with torch 1.13)

pytorch_model.bin has the weights of test/golden/mamba2; mixed.bin each type of element, views, shared elements and parameters;
strided.bin and object.bin are to be refused.
"""

import json
from collections import OrderedDict
from pathlib import Path

import torch

golden = Path(__file__).resolve().parents[2] / "test" / "golden"
folder = golden / "torch"
folder.mkdir(exist_ok=True)

data = (golden / "mamba2" / "model.safetensors").read_bytes()
size = int.from_bytes(data[:8], "little")
types = {"BF16": torch.bfloat16, "F32": torch.float32}
state = OrderedDict()
for name, entry in json.loads(data[8 : 8 + size]).items():
    if name == "__metadata__":
        continue
    begin, end = entry["data_offsets"]
    part = bytearray(data[8 + size + begin : 8 + size + end])
    state[name] = torch.frombuffer(part, dtype=types[entry["dtype"]]).reshape(entry["shape"]).clone()
torch.save(state, folder / "pytorch_model.bin")

base = torch.arange(12, dtype=torch.float32)
module = torch.nn.Linear(2, 3)
with torch.no_grad():
    module.weight.copy_(torch.arange(6, dtype=torch.float32).reshape(3, 2))
    module.bias.zero_()
mixed = module.state_dict()  # an OrderedDict with the versions of modules as an attribute
for dtype in ["float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]:
    mixed[dtype] = torch.tensor([1, 0, 2], dtype=getattr(torch, dtype))
mixed["whole"] = base
mixed["view"] = base[4:10].reshape(2, 3)
mixed["row"] = base.reshape(3, 4)[1:2]
mixed["parameter"] = torch.nn.Parameter(torch.tensor([7.0]))
mixed["scalar"] = torch.tensor(5.0)
mixed["empty"] = torch.zeros(0, 3)
torch.save(mixed, folder / "mixed.bin")

torch.save({"a": base.reshape(3, 4).t()}, folder / "strided.bin")
torch.save({"a": base, "step": 3, "path": Path("x")}, folder / "object.bin")
