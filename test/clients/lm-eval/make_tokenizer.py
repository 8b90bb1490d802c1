"""
Copies a golden into another folder with a tokenizer whose words are its token ids: t0 t1 t2 ...

    make_tokenizer.py GOLDEN_DIRECTORY TO
"""

import json
import shutil
import sys
from pathlib import Path

source, to = map(Path, sys.argv[1:])
to.mkdir(parents=True)
config = json.loads((source / "config.json").read_text())
shutil.copy(source / "model.safetensors", to)
(to / "config.json").write_text(json.dumps(config))
words = {f"t{i}": i for i in range(config["vocab_size"])}
(to / "tokenizer.json").write_text(
    json.dumps(
        {
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {
                "type": "WordPiece",
                "vocab": words,
                "unk_token": "t0",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 10,
            },
        }
    )
)
(to / "tokenizer_config.json").write_text(
    json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": f"t{config.get('eos_token_id', 1)}"})
)
