"""
Scores a model by lm-evaluation-harness twice: through the server's /v1/completions (the harness' `local-completions`, which
sends token ids and asks for echo and log probabilities), and by transformers (`hf`), float32 on the CPU. Exit status 1 unless
all scores are equal, and each log likelihood to within a hundredth of a nat in a hundred.

    compare.py MODEL_DIRECTORY BASE_URL {words,tokens}

`words`: questions in English; `tokens`: in the words of a model without a text, t0 t1 ... (make_tokenizer.py).
"""

import json
import random
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.append(str(HERE / "stand-ins"))  # behind the real package, where there is one

import lm_eval  # noqa: E402
import yaml  # noqa: E402

RELATIVE, ABSOLUTE = 1e-4, 1e-3  # of a log likelihood, in nats
ANIMALS, PLACES = ["wolf", "hare", "mouse"], ["forest", "river", "town"]
ENDINGS = [" happy to see the sun.", " tired and went to bed.", " a to of the in.", " afraid of the dark night."]


def of_words(rng):
    for animal in ANIMALS:
        for place in PLACES:
            text = f"Once upon a time there was a little {animal} who lived by the {place}. One day the {animal} was"
            yield text, rng.sample(ENDINGS, len(ENDINGS))


def of_tokens(rng):
    def text(count):
        return " ".join(f"t{rng.randrange(2, 256)}" for _ in range(count))

    for _ in range(12):
        yield text(rng.randrange(1, 200)), [" " + text(rng.randrange(1, 8)) for _ in range(4)]


def tasks(folder, kind):
    rng = random.Random(12)
    questions = list({"words": of_words, "tokens": of_tokens}[kind](rng))
    rows = {
        "choices": [
            {"context": context, "choices": choices, "answer": rng.randrange(len(choices))} for context, choices in questions
        ],
        "texts": [{"text": context + choices[0]} for context, choices in questions],
    }
    for name, docs in rows.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(doc) + "\n" for doc in docs))
        yield yaml.safe_load((HERE / f"{name}.yaml").read_text()) | {
            "dataset_kwargs": {"data_files": {"test": str(path)}},
            "target_delimiter": "",
        }


def evaluate(backend, arguments, configs):
    found = lm_eval.simple_evaluate(backend, arguments, tasks=configs, batch_size=4, bootstrap_iters=0, device="cpu")
    scores = {
        f"{task} {metric.split(',')[0]}": value
        for task, metrics in found["results"].items()
        for metric, value in metrics.items()
        if isinstance(value, float) and "stderr" not in metric
    }
    likelihoods = [
        float(response[0] if isinstance(response, (list, tuple)) else response)
        for task in ("choices", "texts")
        for sample in sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
        for response in sample["filtered_resps"]
    ]
    return scores, likelihoods


def main():
    directory, base_url, kind = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        configs = list(tasks(Path(folder), kind))
        ours = evaluate(
            "local-completions",
            f"model={Path(directory).name},base_url={base_url}/v1/completions,tokenizer_backend=huggingface,"
            f"tokenizer={directory},num_concurrent=4,max_length=1024",
            configs,
        )
        theirs = evaluate("hf", f"pretrained={directory},dtype=float32,max_length=1024", configs)
    failed = len(ours[1]) != len(theirs[1])
    for name, value in theirs[0].items():
        is_exact = name.startswith("choices")
        equal = ours[0][name] == value if is_exact else abs(ours[0][name] - value) <= RELATIVE * abs(value)
        failed |= not equal
        print(f"{name}: {ours[0][name]:.6f}, transformers {value:.6f}{'' if equal else ' DIFFERENT'}")
    distances = [abs(a - b) for a, b in zip(ours[1], theirs[1])]
    beyond = sum(d > ABSOLUTE + RELATIVE * abs(b) for d, b in zip(distances, theirs[1]))
    print(f"{len(distances)} log likelihoods, the largest difference {max(distances):.2e} nats, {beyond} beyond what is allowed")
    return 1 if failed or beyond > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
