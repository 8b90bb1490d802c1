#!/usr/bin/env python3
"""Write what the reference implementation computes from a checkpoint, or compare a golden file with it.

    python3 scripts/golden/make_golden.py test/golden/mamba2 test/golden/mamba2/golden.safetensors --check

The prompts are those of the existing golden file; logits and greedy tokens are computed anew with Hugging Face
transformers in float32 on the CPU, without a cache. Needs torch, transformers and safetensors.
"""

import argparse

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.models.mamba2 import modeling_mamba2

PERPLEXITY_TEXT = "perplexity_text_ids"


def normalize_groups_apart(groups: int) -> None:
    """transformers' gated norm takes all channels together; mamba_ssm's, which models are trained with, each group."""

    def forward(self, hidden_states, gate=None):
        x = hidden_states.float()
        if gate is not None:
            x = x * torch.nn.functional.silu(gate.float())
        grouped = x.unflatten(-1, (groups, -1))
        grouped = grouped * torch.rsqrt(grouped.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * grouped.flatten(-2).to(hidden_states.dtype)

    modeling_mamba2.MambaRMSNormGated.forward = forward


@torch.no_grad()
def recompute(model, golden: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The golden file's fields, from its own prompts and sizes."""
    result = {}
    for key, ids in golden.items():
        if not key.startswith("input_ids."):
            continue
        index = key.removeprefix("input_ids.")
        result[key] = ids
        logits = model(ids[None].long(), use_cache=False).logits[0].float()
        result[f"logits.{index}"] = logits[-golden[f"logits.{index}"].shape[0] :].contiguous()
        tokens = ids.long()
        for _ in range(golden[f"greedy.{index}"].shape[0]):
            following = model(tokens[None], use_cache=False).logits[0, -1].argmax()
            tokens = torch.cat([tokens, following[None]])
        result[f"greedy.{index}"] = tokens[len(ids) :].int()
    if PERPLEXITY_TEXT in golden:
        ids = golden[PERPLEXITY_TEXT].long()
        logits = model(ids[None, :-1], use_cache=False).logits[0].float()
        result[PERPLEXITY_TEXT] = golden[PERPLEXITY_TEXT]
        result["perplexity_nll"] = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="directory with config.json and model.safetensors")
    parser.add_argument("golden", help="golden.safetensors to read the prompts from, and to write")
    parser.add_argument("--check", action="store_true", help="print the differences instead of writing")
    args = parser.parse_args()

    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="eager").eval()
    if getattr(model.config, "n_groups", 1) > 1:
        normalize_groups_apart(model.config.n_groups)
    golden = load_file(args.golden)
    result = recompute(model, golden)
    for key, expected in sorted(golden.items()):
        if expected.is_floating_point():
            difference = ((result[key] - expected).norm() / expected.norm()).item()
            print(f"{key}: relative difference {difference:.2e}")
        else:
            print(f"{key}: {'equal' if torch.equal(result[key], expected) else 'DIFFERENT'}")
    if not args.check:
        save_file(result, args.golden)


if __name__ == "__main__":
    main()
