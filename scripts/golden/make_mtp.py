#!/usr/bin/env python3
"""Write a random head of multi-token prediction for some goldens, and what a reference computes with it.

    python3 scripts/golden/make_mtp.py test/golden

For each family, test/golden/mtp/FAMILY.safetensors gets the head's weights, by the names of published checkpoints, and

    logits.I   f32: of the head for the last pairs (hidden state of a token, token after it) of prompt I of the family's golden
    guesses.I  i32: the tokens that it guesses one after the other, behind the prompt and the first greedy token

The layers are transformers' own: a model that has only the head's layers, and is given their input; float32 on the CPU. Needs
torch, transformers and safetensors.
"""

import argparse
import pathlib
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

GUESSES = 4
ROWS = 8

# How each family calls the parts: the projection, the norms of both inputs, the norm at the end.
QWEN = {
    "projection": "mtp.fc.weight",
    "embedding": "mtp.pre_fc_norm_embedding.weight",
    "hidden": "mtp.pre_fc_norm_hidden.weight",
    "norm": "mtp.norm.weight",
    "above_one": True,
    "layers": lambda config: {"num_hidden_layers": 1, "layer_types": ["full_attention"]},
}
NEMOTRON = {
    "projection": "mtp.layers.0.eh_proj.weight",
    "embedding": "mtp.layers.0.enorm.weight",
    "hidden": "mtp.layers.0.hnorm.weight",
    "norm": "mtp.layers.1.final_layernorm.weight",
    "above_one": False,
    "layers": lambda config: {"layers_block_type": ["full_attention", "moe"]},
}
FAMILIES = {"qwen3_next": QWEN, "qwen3_5_text": QWEN, "qwen3_5_moe_text": QWEN, "nemotron_h_moe": NEMOTRON}


def rounded(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to(torch.bfloat16)


def randomize(model: torch.nn.Module, above_one: bool) -> None:
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape)
        if parameter.dim() > 1:
            value = noise * parameter.shape[-1] ** -0.5
        elif "norm" in name:
            value = noise * 0.1 + (0 if above_one else 1)
        else:
            value = noise * 0.05
        parameter.copy_(rounded(value).float())
    for name, buffer in model.named_buffers():
        if name.endswith("e_score_correction_bias"):
            buffer.copy_(rounded(torch.randn(buffer.shape) * 0.05))


def norm(x: torch.Tensor, weight: torch.Tensor, eps: float, above_one: bool) -> torch.Tensor:
    scaled = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return scaled * (1 + weight if above_one else weight)


def saved(head: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The head's layers and norm as a checkpoint has them."""
    with tempfile.TemporaryDirectory() as directory:
        head.save_pretrained(directory)
        return load_file(pathlib.Path(directory) / "model.safetensors")


@torch.no_grad()
def make(root: pathlib.Path, name: str, family: dict) -> None:
    torch.manual_seed(len(name))
    config = AutoConfig.from_pretrained(root / name)
    model = AutoModelForCausalLM.from_pretrained(root / name, dtype=torch.float32, attn_implementation="eager").eval()
    eps = getattr(config, "rms_norm_eps", None) or config.layer_norm_epsilon
    size, above_one = config.hidden_size, family["above_one"]

    alone = AutoConfig.from_pretrained(root / name, **family["layers"](config))
    head = AutoModelForCausalLM.from_config(alone, attn_implementation="eager").float().eval()
    randomize(head, above_one)
    own = {
        family["projection"]: rounded(torch.randn(size, 2 * size) * (2 * size) ** -0.5),
        family["embedding"]: rounded(torch.randn(size) * 0.1 + (0 if above_one else 1)),
        family["hidden"]: rounded(torch.randn(size) * 0.1 + (0 if above_one else 1)),
    }
    tensors = dict(own)
    for key, value in saved(head).items():
        inner = key.removeprefix("model.").removeprefix("backbone.")
        if inner in ("norm.weight", "norm_f.weight"):
            tensors[family["norm"]] = rounded(value)
        elif inner.startswith("layers."):
            tensors[f"mtp.{inner}"] = rounded(value) if value.dtype == torch.float32 else value

    def predict(hidden: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        embedded = norm(model.get_input_embeddings()(ids), own[family["embedding"]].float(), eps, above_one)
        hidden = norm(hidden, own[family["hidden"]].float(), eps, above_one)
        inputs = torch.cat([embedded, hidden], -1) @ own[family["projection"]].float().T
        return head.model(inputs_embeds=inputs[None], use_cache=False).last_hidden_state[0]

    golden = load_file(root / name / "golden.safetensors")
    for index in range(sum(key.startswith("input_ids.") for key in golden)):
        prompt = golden[f"input_ids.{index}"].long()
        hidden = model.model(prompt[None], use_cache=False).last_hidden_state[0]
        ids = torch.cat([prompt[1:], golden[f"greedy.{index}"][:1].long()])
        made = predict(hidden, ids)
        tensors[f"logits.{index}"] = model.lm_head(made[-ROWS:]).float().contiguous()
        for _ in range(GUESSES):
            ids = torch.cat([ids, model.lm_head(made[-1]).argmax()[None]])
            hidden = torch.cat([hidden, made[-1:]])
            made = predict(hidden, ids)
        tensors[f"guesses.{index}"] = ids[-GUESSES:].int()
    out = root / "mtp" / f"{name}.safetensors"
    out.parent.mkdir(exist_ok=True)
    save_file(tensors, out)
    print(f"{out}: {sorted((key, list(value.shape)) for key, value in tensors.items())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("goldens", help="the folder of goldens", type=pathlib.Path)
    args = parser.parse_args()
    for name, family in FAMILIES.items():
        make(args.goldens, name, family)


if __name__ == "__main__":
    main()
