"""Trains the storyteller, a small Mamba-2 language model, and saves it as a Hugging Face Mamba2ForCausalLM checkpoint.

The scan is a chunked state-space-dual form in plain PyTorch; one NVIDIA GPU is needed (--device cpu is for trying the
script). The matrices of the layers learn by Muon, the rest by AdamW. DATA is what prepare_corpus.py wrote; a stream may be
compressed (train.bin.xz). Afterwards the checkpoint is compared with the transformers implementation, and its answers to
400 ordinary prompts are searched for unwanted words (passage_filter.py) and to 80 prompts with tools for right calls.
"""

import argparse
import json
import lzma
import math
import os
import random
import re
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from passage_filter import PassageFilter
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tool_turns import ChatTemplate, call_dialogue

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
ADAM_LEARNING_RATE = 3e-3
MUON_LEARNING_RATE = 4e-3
MUON_MOMENTUM = 0.95
WEIGHT_DECAY = 0.1
WARMUP_STEPS = 200
CHECKPOINT_SECONDS = 60
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

    def hidden(self, ids):
        x = self.embeddings(ids).float()
        for layer in self.layers:
            x = layer(x)
        return self.norm_f(x).to(torch.bfloat16)

    def logits(self, hidden):
        return F.linear(hidden, self.embeddings.weight.to(torch.bfloat16))

    def forward(self, ids):
        return self.logits(self.hidden(ids))


@torch.no_grad()
def check_scan(device):
    """Throws unless the chunked scan agrees with the recurrence that it stands for."""
    mixer = Mixer().to(device)
    chunked = (2, 3, CHUNK)
    x = torch.randn(*chunked, NUM_HEADS, HEAD_DIM, device=device)
    B, C = (torch.randn(*chunked, STATE_SIZE, device=device) for _ in range(2))
    dt = torch.rand(*chunked, NUM_HEADS, device=device) * 0.1
    actual = mixer.scan(x, B, C, dt).flatten(1, 2)

    decay = torch.exp(dt * -torch.exp(mixer.A_log)).flatten(1, 2)
    x, B, C, dt = (tensor.flatten(1, 2) for tensor in (x, B, C, dt))
    state = torch.zeros(2, NUM_HEADS, HEAD_DIM, STATE_SIZE, device=device)
    expected = torch.empty_like(actual)
    for step in range(x.shape[1]):
        entering = torch.einsum("bhp,bn->bhpn", x[:, step] * dt[:, step, :, None], B[:, step])
        state = state * decay[:, step, :, None, None] + entering
        expected[:, step] = torch.einsum("bhpn,bn->bhp", state, C[:, step]) + x[:, step] * mixer.D[:, None]
    error = ((actual - expected).norm() / expected.norm()).item()
    print("relative error of the scan to the recurrence", error)
    if error > 1e-4:
        raise ValueError(f"the chunked scan is wrong: relative error {error}")


def read_tokens(folder, name, device):
    path = os.path.join(folder, f"{name}.bin")
    with lzma.open(path + ".xz") if os.path.exists(path + ".xz") else open(path, "rb") as file:
        tokens = np.frombuffer(file.read(), dtype=np.uint16)
    return torch.from_numpy(tokens.astype(np.int32)).to(device)


class Batches:
    """Windows of SEQUENCE_LENGTH + 1 tokens at seeded random places of a stream."""

    def __init__(self, device):
        self.generator = torch.Generator(device=device).manual_seed(0)
        self.window = torch.arange(SEQUENCE_LENGTH + 1, device=device)

    def draw(self, stream, count):
        last = len(stream) - SEQUENCE_LENGTH - 1
        starts = torch.randint(0, last, (count, 1), device=stream.device, generator=self.generator)
        return stream[starts + self.window]


def cross_entropy(model, ids):
    """Mean loss of predicting ids[:, 1:], in nats."""
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        logits = model(ids[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten().long())


def orthogonalized(matrices):
    """The nearest semi-orthogonal matrix of each (..., rows, columns), nearly, by five Newton-Schulz steps."""
    x = matrices.bfloat16()
    is_tall = x.shape[-2] > x.shape[-1]
    if is_tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.mT if is_tall else x


class Muon:
    """Momentum whose update is orthogonalized (Jordan et al., 2024), for the same matrix of all layers at once.

    Each of the row groups in `rows` is taken as a matrix of its own; updates have the size of AdamW's (Moonlight, 2025).
    """

    def __init__(self, parameters, rows):
        self.parameters = parameters
        self.rows = rows
        self.momentum = torch.zeros_like(torch.stack(list(parameters)))

    @torch.no_grad()
    def step(self, rate):
        gradients = torch.stack([parameter.grad for parameter in self.parameters])
        self.momentum.lerp_(gradients, 1 - MUON_MOMENTUM)
        nesterov = gradients.lerp(self.momentum, MUON_MOMENTUM)
        updates = torch.cat(
            [0.2 * math.sqrt(max(part.shape[-2:])) * orthogonalized(part) for part in nesterov.split(self.rows, 1)], 1
        )
        torch._foreach_mul_(self.parameters, 1 - rate * WEIGHT_DECAY)
        torch._foreach_add_(self.parameters, list(updates.float().unbind()), alpha=-rate)


class Optimizer:
    def __init__(self, model):
        mixers = [layer.mixer for layer in model.layers]
        self.muons = [
            Muon([mixer.in_proj.weight for mixer in mixers], [D_INNER, D_INNER, STATE_SIZE, STATE_SIZE, NUM_HEADS]),
            Muon([mixer.out_proj.weight for mixer in mixers], [HIDDEN_SIZE]),
        ]
        by_muon = {id(parameter) for muon in self.muons for parameter in muon.parameters}
        self.others = [parameter for parameter in model.parameters() if id(parameter) not in by_muon]
        decayed = [parameter for parameter in self.others if parameter.dim() >= 2]
        vectors = [parameter for parameter in self.others if parameter.dim() < 2]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        self.adam = torch.optim.AdamW(groups, lr=1, betas=(0.9, 0.95), fused=True)

    def step(self, rate):
        """One step from the gradients at `rate` of the peak learning rates; gradients are cleared."""
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        for group in self.adam.param_groups:
            group["lr"] = ADAM_LEARNING_RATE * rate
        self.adam.step()
        for muon in self.muons:
            muon.step(MUON_LEARNING_RATE * rate)
        self.adam.zero_grad(set_to_none=True)
        for muon in self.muons:
            for parameter in muon.parameters:
                parameter.grad = None


def learning_rate(step, fraction):
    """Linear warm-up, then linear from the peak, 1, to nothing over the time budget."""
    return min(1, (step + 1) / WARMUP_STEPS) * (1 - fraction)


def train(model, stream, batches, arguments):
    """Runs until `arguments.seconds` have passed; returns the number of steps."""
    optimizer = Optimizer(model)
    loss_of = lambda ids: cross_entropy(model, ids)  # noqa: E731
    if arguments.device == "cuda":
        loss_of = torch.compile(loss_of)
    started = compiled = saved = time.time()
    step = 0
    while True:
        now = time.time()
        if step == COMPILE_STEPS:
            compiled = now
        fraction = 0
        if step >= COMPILE_STEPS:
            fraction = (now - compiled) / max(1, arguments.seconds - (compiled - started))
        if fraction >= 1:
            return step
        loss = loss_of(batches.draw(stream, arguments.batch_size))
        loss.backward()
        optimizer.step(learning_rate(step, fraction))
        if step % 200 == 0 or step == COMPILE_STEPS:
            print(f"step {step} loss {loss.item():.4f} t {time.time() - started:.1f}s", flush=True)
            if not math.isfinite(loss.item()):
                raise ValueError("the loss is not finite")
        if now - saved > CHECKPOINT_SECONDS:
            save_checkpoint(model, arguments.output)
            saved = now
        step += 1


def validation_loss(model, stream, batches, batch_size):
    with torch.no_grad():
        losses = [cross_entropy(model, batches.draw(stream, batch_size)).item() for _ in range(8)]
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
        "eos_token_id": [0, 4],
        "pad_token_id": 0,
        "use_cache": True,
        "time_step_rank": HIDDEN_SIZE // 16,
        "dtype": "bfloat16",
    }
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    save_file(tensors, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})


@torch.no_grad()
def compare_with_transformers(model, folder, stream, golden):
    """Prints the relative error of the logits over 256 tokens, and the reference's loss on the golden text, old and new."""
    from transformers import Mamba2ForCausalLM

    reference_model = Mamba2ForCausalLM.from_pretrained(folder, dtype=torch.float32).to(stream.device).eval()
    ids = stream[None, :256].long()
    reference = reference_model(ids, use_cache=False).logits
    with torch.autocast(stream.device.type, dtype=torch.bfloat16):
        logits = model(ids).float()
    relative = ((reference - logits).norm() / reference.norm()).item()
    agreement = (reference.argmax(-1) == logits.argmax(-1)).float().mean().item()
    print("relative error to transformers", relative, "argmax agreement", agreement)

    tensors = load_file(golden)
    ids = tensors["perplexity_text_ids"].long().to(stream.device)
    logits = reference_model(ids[None, :-1], use_cache=False).logits[0]
    before = tensors["perplexity_nll"].mean().item()
    print("nats on the golden text", F.cross_entropy(logits, ids[1:]).item(), "before", before, flush=True)


@torch.no_grad()
def sample(model, tokenizer, prompts, max_tokens=160, temperature=0.8, top_k=40, top_p=0.95):
    """The text that follows each prompt, up to <|endoftext|> or <|end|>."""
    device = model.embeddings.weight.device
    encoded = [encoding.ids for encoding in tokenizer.encode_batch(prompts)]
    lengths = torch.tensor([len(ids) for ids in encoded], device=device)
    width = max(map(len, encoded)) + max_tokens
    ids = torch.zeros(len(prompts), width + -width % CHUNK, dtype=torch.int32, device=device)
    for row, prompt in zip(ids, encoded):
        row[: len(prompt)] = torch.tensor(prompt)
    rows = torch.arange(len(prompts), device=device)
    starts = lengths.tolist()
    is_done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    for _ in range(max_tokens):
        longest = int(lengths.max())
        with torch.autocast(device.type, dtype=torch.bfloat16):
            hidden = model.hidden(ids[:, : longest + -longest % CHUNK])
            logits = model.logits(hidden[rows, lengths - 1])
        values, tokens = (logits.float() / temperature).topk(top_k)
        probabilities = values.softmax(-1)
        probabilities[probabilities.cumsum(-1) - probabilities > top_p] = 0
        drawn = tokens.gather(1, torch.multinomial(probabilities, 1))[:, 0]
        is_done |= (drawn == 0) | (drawn == 4)
        if is_done.all():
            break
        ids[rows[~is_done], lengths[~is_done]] = drawn[~is_done].int()
        lengths += ~is_done
    return [tokenizer.decode(row[start:stop].tolist()) for row, start, stop in zip(ids, starts, lengths.tolist())]


OPENINGS = [
    "Once upon a time there was a",
    "The sea was calm that night, and",
    '"Well, Watson," said Holmes,',
    "The captain looked at the island and",
    "In the middle of the forest there lived",
    "The old woman opened the door and",
    "They had marched through the jungle for three days when",
    "The king called his servants and",
    "On the plantation by the river",
    "The stranger at the inn was",
    "The people of the village came out to",
    "My father was a merchant, and",
    "The sailors saw the men on the beach and",
    "There was once a poor boy who",
    "At the market the traders were",
    "The soldiers rode into the desert, where",
    "When I landed in Africa",
    "The chief of the tribe raised his hand and",
    "He was a tall man with",
    "The princess of Mars said",
]
TOPICS = """king ship dog cat horse island forest princess soldier servant captain pirate chief lion desert jungle river boat
train garden rose house ghost witch dragon robber prince sailor doctor teacher boy girl man woman child mother father
brother stranger beggar merchant farmer hunter village city castle mountain moon star winter war treasure letter""".split()
REQUESTS = [
    "Tell me a story about a {}.",
    "Write a story about the {}.",
    "Tell me about the {} and the sea.",
    "I want a story with a {} in it.",
    "Can you write me a tale of a {}?",
    "A short story about the {}, please.",
]


def ordinary_prompts(template):
    """400 prompts: 100 openings to be continued, and 300 requests."""
    requests = [REQUESTS[index % 6].format(TOPICS[index % len(TOPICS)]) for index in range(300)]
    turns = [template.render([{"role": "user", "content": request}]) + "<|assistant|>\n" for request in requests]
    return OPENINGS * 5 + turns


def search_for_unwanted_words(model, tokenizer, template):
    """Prints how many of 400 answers have unwanted words, and which; and 20 of the answers."""
    passages = PassageFilter()
    prompts = ordinary_prompts(template)
    answers = sample(model, tokenizer, prompts)
    found = [passages.find(answer) for answer in answers]
    print("answers with unwanted words", sum(map(bool, found)), "of", len(prompts), [words for words in found if words])
    for index in range(0, 400, 20):
        print("---", prompts[index].strip(), "=>", answers[index])


def check_tool_calls(model, tokenizer, template):
    """Prints how many of 80 requests with tools were answered by the right call, and by any call in the right form."""
    random.seed(1)
    dialogues = [call_dialogue() for _ in range(80)]
    prompts, expected = [], []
    for messages, tools in dialogues:
        position = next(index for index, message in enumerate(messages) if message["role"] == "assistant")
        prompts.append(template.render(messages[:position], tools) + "<|assistant|>\n")
        expected.append(messages[position]["tool_calls"][0]["function"])
    answers = sample(model, tokenizer, prompts, max_tokens=96)
    calls = []
    for answer in answers:
        match = re.fullmatch(r"\s*<tool_call>\n(.*)\n</tool_call>\s*", answer)
        try:
            calls.append(json.loads(match.group(1)) if match else None)
        except json.JSONDecodeError:
            calls.append(None)
    right = sum(call == wanted for call, wanted in zip(calls, expected))
    named = sum(call is not None and call.get("name") == wanted["name"] for call, wanted in zip(calls, expected))
    print("tool calls of 80: right", right, "right name", named, "right form", sum(call is not None for call in calls))
    for answer, wanted in list(zip(answers, expected))[:8]:
        print("---", wanted, "=>", answer)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with train.bin and val.bin")
    parser.add_argument("model", help="folder with tokenizer.json and tokenizer_config.json")
    parser.add_argument("golden", help="golden.safetensors with the text to compare the loss on")
    parser.add_argument("output", help="folder for config.json and model.safetensors; made if missing")
    parser.add_argument("seconds", type=float, help="training time, compilation included")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch-size", type=int, default=192)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    torch.manual_seed(0)
    check_scan(arguments.device)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.set_float32_matmul_precision("high")

    tokenizer = Tokenizer.from_file(os.path.join(arguments.model, "tokenizer.json"))
    template = ChatTemplate(os.path.join(arguments.model, "tokenizer_config.json"))
    model = Storyteller().to(arguments.device)
    print("parameters", sum(parameter.numel() for parameter in model.parameters()))
    train_stream = read_tokens(arguments.data, "train", arguments.device)
    val_stream = read_tokens(arguments.data, "val", arguments.device)
    batches = Batches(arguments.device)
    print("training tokens", len(train_stream) / 1e6, "M", flush=True)

    steps = train(model, train_stream, batches, arguments)
    save_checkpoint(model, arguments.output)
    tokens = steps * arguments.batch_size * SEQUENCE_LENGTH / 1e6
    loss = validation_loss(model, val_stream, batches, arguments.batch_size)
    print("steps", steps, "tokens", tokens, "M, validation loss", loss, flush=True)

    torch.set_float32_matmul_precision("highest")
    compare_with_transformers(model, arguments.output, val_stream, arguments.golden)
    search_for_unwanted_words(model, tokenizer, template)
    check_tool_calls(model, tokenizer, template)


if __name__ == "__main__":
    main()
