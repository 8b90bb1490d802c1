"""Times vLLM's Triton kernel of the convolution's update as causal_conv1d.cu times ours: the median between two events
around a graph of one launch, after a flush of the L2 by writes. Needs torch and triton, not vLLM: the kernel of vLLM
0.14.1 stands alone in LightLLM, lightllm/common/basemodel/triton_kernel/linear_att/causal_conv1d_spec.py.

    python3 native/lab/causal_conv1d_peer.py causal_conv1d_spec.py [--commit SHA]

One line of JSON for each case, as bench/results/h200-causal-conv1d.jsonl has them. Run it beside the ladder: times of two
machines, or of two ways of measuring, say nothing about two kernels.
"""
import argparse
import datetime
import importlib.util
import json

import torch

DIM, WIDTH, POOL, RUNS = 10240, 4, 2048, 41

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("module")
parser.add_argument("--commit", default="")
args = parser.parse_args()
spec = importlib.util.spec_from_file_location("peer", args.module)
peer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(peer)

flushed = torch.empty(256 << 20, dtype=torch.uint8, device="cuda")


def microseconds(launch):
    for _ in range(3):
        launch()
    torch.cuda.synchronize()
    stream, graph, events = torch.cuda.Stream(), torch.cuda.CUDAGraph(), []
    with torch.cuda.stream(stream):
        with torch.cuda.graph(graph, stream=stream):
            launch()
        graph.replay()
        for i in range(RUNS):
            flushed.fill_(i)
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record(stream)
            graph.replay()
            end.record(stream)
            events.append((begin, end))
        stream.synchronize()
    return sorted(begin.elapsed_time(end) * 1e3 for begin, end in events)[RUNS // 2]


def random(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)


def reference(x, state, weight, bias):
    window = torch.cat([state, x[:, :, None]], dim=2).double()
    sums = (window * weight.double()).sum(2) + bias.double()
    return sums * torch.sigmoid(sums)


for rows in (1, 8, 64, 256, 1024):
    # The pool is [slot, time, channel] in memory, as vLLM keeps it.
    x, weight, bias, state = random(rows, DIM), random(DIM, WIDTH), random(DIM), random(POOL, WIDTH - 1, DIM).transpose(1, 2)
    slots = torch.randperm(POOL, device="cuda")[:rows].to(torch.int32)
    accepted = torch.ones(rows, dtype=torch.int32, device="cuda")
    starts = torch.arange(rows + 1, dtype=torch.int32, device="cuda")
    want = reference(x, state[slots.long()], weight, bias)
    update = lambda to: peer.causal_conv1d_update(to, state, weight, 0, bias, "silu", slots, accepted, starts)
    got = update(x.clone())
    assert torch.allclose(got.double(), want, rtol=2e-2, atol=2e-2), "the peer's output differs from float64"
    us = microseconds(lambda: update(x))
    line = {"op": "causal_conv1d_update", "case": f"B={rows}", "version": "vLLM 0.14.1 (Triton)", "us": round(us, 2)}
    facts = {"hardware": torch.cuda.get_device_name(), "date": str(datetime.date.today()), "commit": args.commit}
    print(json.dumps(line | facts), flush=True)
