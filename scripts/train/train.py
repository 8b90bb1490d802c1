"""Trains the storyteller, a small Mamba-2 language model, and saves it as a Hugging Face Mamba2ForCausalLM checkpoint.

The scan is a chunked state-space-dual form in plain PyTorch; one NVIDIA GPU is needed. DATA is what prepare_corpus.py
wrote. Afterwards the checkpoint is compared with the transformers implementation and three samples are printed.
"""

import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer

DEVICE = "cuda"

VOCAB_SIZE = 4096
HIDDEN_SIZE = 320
NUM_LAYERS = 7
STATE_SIZE = 128
HEAD_DIM = 64
CONV_KERNEL = 4
D_INNER = 2 * HIDDEN_SIZE
NUM_HEADS = D_INNER // HEAD_DIM
CONV_DIM = D_INNER + 2 * STATE_SIZE
# Chunk of the training scan only; any divisor of the sequence length gives the same model.
CHUNK = 64
NORM_EPS = 1e-5

SEQUENCE_LENGTH = 512
BATCH_SIZE = 192
PEAK_LEARNING_RATE = 3e-3
WARMUP_STEPS = 200
# The clock of the schedule starts after these: they hold the compilation.
COMPILE_STEPS = 20


class RMSNorm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, NORM_EPS)


def initial_dt_bias():
    """Inverse softplus of time steps drawn log-uniformly from [0.001, 0.1]."""
    low, high = math.log(0.001), math.log(0.1)
    dt = torch.exp(torch.rand(NUM_HEADS) * (high - low) + low).clamp(min=1e-4)
    return dt + torch.log(-torch.expm1(-dt))


class Mixer(nn.Module):
    """Attribute names are the tensor names of the checkpoint; their order fixes what the seeded generator gives each."""

    def __init__(self):
        super().__init__()
        self.in_proj = nn.Linear(HIDDEN_SIZE, 2 * D_INNER + 2 * STATE_SIZE + NUM_HEADS, bias=False)
        self.out_proj = nn.Linear(D_INNER, HIDDEN_SIZE, bias=False)
        self.conv1d = nn.Conv1d(
            CONV_DIM, CONV_DIM, CONV_KERNEL, groups=CONV_DIM, padding=CONV_KERNEL - 1, bias=True
        )
        self.A_log = nn.Parameter(torch.log(torch.empty(NUM_HEADS).uniform_(1, 16)))
        self.D = nn.Parameter(torch.ones(NUM_HEADS))
        self.dt_bias = nn.Parameter(initial_dt_bias())
        self.norm = RMSNorm(D_INNER)
        self.register_buffer("causal", torch.tril(torch.ones(CHUNK, CHUNK, dtype=torch.bool)), persistent=False)
        nn.init.normal_(self.in_proj.weight, std=0.02)
        nn.init.normal_(self.out_proj.weight, std=0.02 / math.sqrt(NUM_LAYERS))

    def convolve(self, xbc):
        """Causal depthwise convolution and SiLU: (batch, time, CONV_DIM) to the same."""
        time_steps = xbc.shape[1]
        weight = self.conv1d.weight[:, 0].to(xbc.dtype)
        padded = F.pad(xbc, (0, 0, CONV_KERNEL - 1, 0))
        y = self.conv1d.bias.to(xbc.dtype)
        for tap in range(CONV_KERNEL):
            y = y + padded[:, tap : tap + time_steps] * weight[:, tap]
        return F.silu(y)

    def scan(self, x, B, C, dt):
        """The state-space recurrence in chunks. x: (batch, chunks, CHUNK, heads, HEAD_DIM); B, C: (.., STATE_SIZE)."""
        chunks = x.shape[1]
        A = -torch.exp(self.A_log.float())
        decay = (dt * A).cumsum(2)  # (batch, chunks, CHUNK, heads)
        x_dt = x * dt.unsqueeze(-1).to(x.dtype)

        by_head = decay.permute(0, 1, 3, 2)
        log_mask = (by_head.unsqueeze(-1) - by_head.unsqueeze(-2)).masked_fill(~self.causal, -1e30)
        mask = torch.exp(log_mask).to(x.dtype)
        scores = torch.einsum("bcln,bcsn->bcls", C, B)
        within = torch.einsum("bchls,bcshp->bclhp", scores.unsqueeze(2) * mask, x_dt)

        to_end = torch.exp(decay[:, :, -1:, :] - decay).to(x.dtype)
        chunk_states = torch.einsum("bcln,bclhp->bchpn", B, x_dt * to_end.unsqueeze(-1)).float()
        chunk_decay = torch.exp(decay[:, :, -1]).unsqueeze(-1).unsqueeze(-1)
        states = []
        state = torch.zeros_like(chunk_states[:, 0])
        for chunk in range(chunks):
            states.append(state)
            state = state * chunk_decay[:, chunk] + chunk_states[:, chunk]
        previous = torch.stack(states, 1).to(x.dtype)
        across = torch.einsum("bcln,bchpn->bclhp", C, previous) * torch.exp(decay).unsqueeze(-1).to(x.dtype)

        return within + across + x * self.D.view(NUM_HEADS, 1).to(x.dtype)

    def forward(self, u):
        batch, time_steps, _ = u.shape
        chunked = (batch, time_steps // CHUNK, CHUNK)
        z, xbc, dt = self.in_proj(u).split([D_INNER, CONV_DIM, NUM_HEADS], -1)
        x, B, C = self.convolve(xbc).split([D_INNER, STATE_SIZE, STATE_SIZE], -1)
        dt = F.softplus(dt.float() + self.dt_bias)
        y = self.scan(
            x.view(*chunked, NUM_HEADS, HEAD_DIM),
            B.view(*chunked, STATE_SIZE),
            C.view(*chunked, STATE_SIZE),
            dt.view(*chunked, NUM_HEADS),
        )
        y = y.reshape(batch, time_steps, D_INNER)
        return self.out_proj(self.norm(y * F.silu(z)).to(u.dtype))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = RMSNorm(HIDDEN_SIZE)
        self.mixer = Mixer()

    def forward(self, x):
        return x + self.mixer(self.norm(x).to(torch.bfloat16)).float()


class Storyteller(nn.Module):
    """(batch, time) token ids to (batch, time, VOCAB_SIZE) logits; time is a multiple of CHUNK."""

    def __init__(self):
        super().__init__()
        self.embeddings = nn.Embedding(VOCAB_SIZE, HIDDEN_SIZE)
        nn.init.normal_(self.embeddings.weight, std=0.02)
        self.layers = nn.ModuleList([Block() for _ in range(NUM_LAYERS)])
        self.norm_f = RMSNorm(HIDDEN_SIZE)

    def forward(self, ids):
        x = self.embeddings(ids).float()
        for layer in self.layers:
            x = layer(x)
        return F.linear(self.norm_f(x).to(torch.bfloat16), self.embeddings.weight.to(torch.bfloat16))


def read_tokens(path):
    return torch.from_numpy(np.fromfile(path, dtype=np.uint16).astype(np.int32)).to(DEVICE)


class Batches:
    """Windows of SEQUENCE_LENGTH + 1 tokens at seeded random places of a stream."""

    def __init__(self):
        self.generator = torch.Generator(device=DEVICE).manual_seed(0)
        self.window = torch.arange(SEQUENCE_LENGTH + 1, device=DEVICE)

    def draw(self, stream, count):
        last = len(stream) - SEQUENCE_LENGTH - 1
        starts = torch.randint(0, last, (count, 1), device=DEVICE, generator=self.generator)
        return stream[starts + self.window]


def cross_entropy(model, ids):
    """Mean loss of predicting ids[:, 1:], in nats."""
    with torch.autocast("cuda", dtype=torch.bfloat16):
        logits = model(ids[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten().long())


def make_optimizer(model):
    matrices = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1, betas=(0.9, 0.95), fused=True)


def learning_rate(step, fraction):
    """Linear warm-up, then a cosine from the peak to 2 % of it over the time budget."""
    warmup = min(1, (step + 1) / WARMUP_STEPS)
    return PEAK_LEARNING_RATE * warmup * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction)))


def train(model, stream, batches, seconds):
    """Runs until `seconds` have passed; returns the number of steps."""
    optimizer = make_optimizer(model)
    loss_of = torch.compile(lambda ids: cross_entropy(model, ids))
    started = time.time()
    compiled = started
    step = 0
    while True:
        if step == COMPILE_STEPS:
            compiled = time.time()
        fraction = 0
        if step >= COMPILE_STEPS:
            fraction = (time.time() - compiled) / (seconds - (compiled - started))
        if fraction >= 1:
            return step
        rate = learning_rate(step, fraction)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(batches.draw(stream, BATCH_SIZE))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 200 == 0 or step == COMPILE_STEPS:
            elapsed = time.time() - started
            print(f"step {step} loss {loss.item():.4f} t {elapsed:.1f}s lr {rate:.2e}", flush=True)
        step += 1


def validation_loss(model, stream, batches):
    with torch.no_grad():
        losses = [cross_entropy(model, batches.draw(stream, 64)).item() for _ in range(20)]
    return sum(losses) / len(losses)


def save_checkpoint(model, folder):
    """config.json and model.safetensors; bf16 except the scan's own parameters, which stay f32."""
    tensors = {}
    for name, parameter in sorted(model.state_dict().items()):
        dtype = torch.float32 if name.endswith(("A_log", ".D", "dt_bias")) else torch.bfloat16
        tensors["backbone." + name] = parameter.detach().to(dtype).contiguous().cpu()
    config = {
        "architectures": ["Mamba2ForCausalLM"],
        "model_type": "mamba2",
        "vocab_size": VOCAB_SIZE,
        "hidden_size": HIDDEN_SIZE,
        "num_hidden_layers": NUM_LAYERS,
        "state_size": STATE_SIZE,
        "num_heads": NUM_HEADS,
        "head_dim": HEAD_DIM,
        "expand": 2,
        "conv_kernel": CONV_KERNEL,
        "n_groups": 1,
        "chunk_size": 256,
        "use_bias": False,
        "use_conv_bias": True,
        "hidden_act": "silu",
        "layer_norm_epsilon": NORM_EPS,
        "rms_norm": True,
        "residual_in_fp32": True,
        "tie_word_embeddings": True,
        "time_step_limit": [0.0, 1e38],
        "norm_before_gate": False,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


def compare_with_transformers(model, folder, stream):
    """Prints the relative error of the logits, and how often the likeliest token is the same, over 256 tokens."""
    from transformers import Mamba2ForCausalLM

    reference_model = Mamba2ForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(DEVICE).eval()
    ids = stream[None, :256].long()
    with torch.no_grad():
        reference = reference_model(ids).logits.float()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = model(ids).float()
    relative = ((reference - logits).norm() / logits.norm()).item()
    agreement = (reference.argmax(-1) == logits.argmax(-1)).float().mean().item()
    print("relative error to transformers", relative, "argmax agreement", agreement)


def sample(model, tokenizer, prompt, max_tokens=160, temperature=0.8, top_k=40):
    """Text that follows `prompt`, up to <|endoftext|> or <|end|>."""
    ids = torch.tensor([tokenizer.encode(prompt).ids], device=DEVICE)
    with torch.no_grad():
        for _ in range(max_tokens):
            padding = (-ids.shape[1]) % CHUNK
            with torch.autocast("cuda", dtype=torch.bfloat16):
                logits = model(F.pad(ids, (0, padding)))[0, ids.shape[1] - 1].float() / temperature
            values, indices = logits.topk(top_k)
            token = indices[torch.multinomial(values.softmax(-1), 1)]
            if token.item() in (0, 4):
                break
            ids = torch.cat([ids, token[None]], 1)
    return tokenizer.decode(ids[0].tolist(), skip_special_tokens=False)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with train.bin, val.bin and tokenizer.json")
    parser.add_argument("output", help="folder for config.json and model.safetensors; made if missing")
    parser.add_argument("seconds", type=float, help="training time, compilation included")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_float32_matmul_precision("high")

    model = Storyteller().to(DEVICE)
    print("parameters", sum(parameter.numel() for parameter in model.parameters()))
    train_stream = read_tokens(os.path.join(arguments.data, "train.bin"))
    val_stream = read_tokens(os.path.join(arguments.data, "val.bin"))
    batches = Batches()

    steps = train(model, train_stream, batches, arguments.seconds)
    tokens = steps * BATCH_SIZE * SEQUENCE_LENGTH / 1e6
    print("steps", steps, "tokens", tokens, "M, validation loss", validation_loss(model, val_stream, batches))
    save_checkpoint(model, arguments.output)

    compare_with_transformers(model, arguments.output, val_stream)
    tokenizer = Tokenizer.from_file(os.path.join(arguments.data, "tokenizer.json"))
    prompts = [
        "Once upon a time there was a",
        "<|user|>\nTell me a story about the king and a ship.<|end|>\n<|assistant|>\n",
        "<|user|>\nWrite a story about a dog.<|end|>\n<|assistant|>\n",
    ]
    for prompt in prompts:
        print("---", sample(model, tokenizer, prompt))


if __name__ == "__main__":
    main()
