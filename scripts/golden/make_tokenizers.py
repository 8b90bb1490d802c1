"""Writes test/golden/tokenizers.json: what Hugging Face's tokenizers make of texts, for a file of each kind.

Needs tokenizers 0.23. Run in the repository root: python3 scripts/golden/make_tokenizers.py
"""

import json
import pathlib

from tokenizers import Tokenizer

OUT = pathlib.Path(__file__).parent.parent.parent / "test" / "golden" / "tokenizers.json"

TEXTS = [
    "",
    "hello world",
    "  Hello,   World!  ",
    "abc123 45.6-78 9",
    "a<s>b </s> <x>",
    "don't stop, it's 10% off... (now)",
    "tab\tnew\nline\r\n\n end",
    "ΟΔΥΣΣΕΥΣ ΑΣ σ",
    "\ufefffirst\u0085second\u00a0third\u2028fourth\u3000",
    "Ünïcödé Caf\u0065\u0301 ﬁ ①² İ",
    "日本語 テキスト 한국어",
    "😀 family 👩‍👩‍👧 flag 🇩🇪",
    "<mask>a <mask> a<mask>",
    "word wordy myword WORD Word_ word-word",
    "aaaa bbbb  abab",
]

CHARS = sorted({char for text in TEXTS for char in text} | set("▁abcdefghijklmnopqrstuvwxyz 0123456789"))
SPECIALS = ["<unk>", "<s>", "</s>"]
MERGES = ["h e", "l l", "he ll", "hell o", "w o", "r d", "wo rd", "a b", "ab ab", "a a", "▁ a", "▁ h", "▁ wo", "1 2", "12 3", ". ."]


def added(token, index, **fields):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": index, "content": token, **flags, **fields}


def bpe(chars=CHARS, merges=MERGES, **fields):
    vocab = {token: index for index, token in enumerate([*SPECIALS, *chars])}
    for merge in merges:
        left, right = merge.split(" ")
        vocab.setdefault(left + right.removeprefix(fields.get("continuing_subword_prefix") or ""), len(vocab))
    base = {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None}
    base |= {"end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
    return {**base, "vocab": vocab, "merges": merges, **fields}


def byte_alphabet():
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(0x100 + index) for index in range(len(rest))]


BYTE_MERGES = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld", "Ġ Ġ", "Ã ¼", "1 2"]
BYTES = bpe(byte_alphabet(), BYTE_MERGES, unk_token=None)
FALLBACK = bpe(
    [f"<0x{byte:02X}>" for byte in range(256)] + list("▁abcdefghijklmnopqrstuvwxyz0123456789"),
    [merge for merge in MERGES if "." not in merge],
    byte_fallback=True,
    fuse_unk=True,
)
UNIGRAM = {
    "type": "Unigram",
    "unk_id": 0,
    "byte_fallback": False,
    "vocab": [["<unk>", 0.0], ["<s>", 0.0], ["</s>", 0.0]]
    + [[char, -8.0 - index / 100] for index, char in enumerate(CHARS)]
    + [["▁word", -3.0], ["hello", -2.5], ["▁hello", -2.0], ["ab", -4.0], ["aa", -4.5], ["123", -3.5]],
}
WORDPIECE = {
    "type": "WordPiece",
    "unk_token": "<unk>",
    "continuing_subword_prefix": "##",
    "max_input_chars_per_word": 12,
    "vocab": {
        token: index
        for index, token in enumerate(
            [*SPECIALS, "hello", "world", "wo", "##rd", "##rld", "a", "##b", "##a", "1", "##2", "##3", ",", ".", "'"]
            + ["s", "t", "don", "stop", "it", "##y", "word", "tab", "new", "line", "end", "日", "本", "cafe", "<mask>"]
        )
    },
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
FUSE = {"type": "Fuse"}
REPLACE = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
SPACE_TO_MARK = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def cases():
    default = {"model": bpe(), "decoder": FUSE}

    def case(name, **fields):
        base = {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None}
        base |= {"post_processor": None, "added_tokens": [added(token, index) for index, token in enumerate(SPECIALS)]}
        yield name, {**base, **default, **fields}

    behaviors = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    yield from case("plain BPE")
    for name, normalizer in {
        "NFC": {"type": "NFC"},
        "NFD": {"type": "NFD"},
        "NFKC": {"type": "NFKC"},
        "NFKD": {"type": "NFKD"},
        "Lowercase": {"type": "Lowercase"},
        "Strip left": {"type": "Strip", "strip_left": True, "strip_right": False},
        "Strip": {"type": "Strip", "strip_left": True, "strip_right": True},
        "StripAccents": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}),
        "Nmt": {"type": "Nmt"},
        "Prepend": {"type": "Prepend", "prepend": "▁"},
        "Replace string": {"type": "Replace", "pattern": {"String": "ll"}, "content": "L"},
        "Replace regex": {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
        "Bert": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "Sequence": sequence("normalizers", {"type": "NFKC"}, {"type": "Lowercase"}, SPACE_TO_MARK),
    }.items():
        yield from case(f"normalizer {name}", normalizer=normalizer)
    yield from case("normalizer ByteLevel", normalizer={"type": "ByteLevel"}, model=BYTES, decoder={**BYTE_LEVEL})
    for behavior in behaviors:
        for invert in [False, True]:
            yield from case(f"Split regex {behavior} {invert}", pre_tokenizer=split({"Regex": "\\s+"}, behavior, invert))
        yield from case(f"Split string {behavior}", pre_tokenizer=split({"String": " "}, behavior))
        yield from case(f"Split dot {behavior}", pre_tokenizer=split({"String": "."}, behavior))
        yield from case(f"Punctuation {behavior}", pre_tokenizer={"type": "Punctuation", "behavior": behavior})
    for name, pre_tokenizer in {
        "Split words inverted": split({"Regex": "\\w+"}, "Removed", True),
        "Split GPT-4": split(
            {"Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
            "Isolated",
        ),
        "Digits": {"type": "Digits", "individual_digits": False},
        "Digits individual": {"type": "Digits", "individual_digits": True},
        "Whitespace": {"type": "Whitespace"},
        "WhitespaceSplit": {"type": "WhitespaceSplit"},
        "CharDelimiterSplit": {"type": "CharDelimiterSplit", "delimiter": "a"},
        "Bert": {"type": "BertPreTokenizer"},
        "UnicodeScripts": {"type": "UnicodeScripts"},
        "FixedLength": {"type": "FixedLength", "length": 3},
        "Sequence": sequence("pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"}, {"type": "Digits", "individual_digits": True}),
    }.items():
        yield from case(f"pre-tokenizer {name}", pre_tokenizer=pre_tokenizer)
    for scheme in ["always", "first", "never"]:
        for whole in [True, False]:
            metaspace = {**METASPACE, "prepend_scheme": scheme, "split": whole}
            yield from case(f"Metaspace {scheme} {whole}", pre_tokenizer=metaspace, decoder=metaspace)
            yield from case(f"Unigram Metaspace {scheme} {whole}", model=UNIGRAM, pre_tokenizer=metaspace, decoder=metaspace)
    for prefix in [False, True]:
        for regex in [False, True]:
            level = {**BYTE_LEVEL, "add_prefix_space": prefix, "use_regex": regex}
            yield from case(f"ByteLevel {prefix} {regex}", model=BYTES, pre_tokenizer=level, decoder=BYTE_LEVEL)
    gpt2 = split({"Regex": "\\p{N}{1,3}|\\s+(?!\\S)| ?\\p{L}+|[^\\s\\p{L}\\p{N}]+|\\s+"}, "Isolated")
    no_regex = {**BYTE_LEVEL, "use_regex": False}
    byte_split = {"model": BYTES, "decoder": BYTE_LEVEL, "pre_tokenizer": sequence("pretokenizers", gpt2, no_regex)}
    yield from case("ByteLevel after Split", **byte_split)
    yield from case("ByteLevel after Digits and Split", **{**byte_split, "pre_tokenizer": sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, gpt2, no_regex)})
    llama_normalizer = sequence("normalizers", {"type": "Prepend", "prepend": "▁"}, SPACE_TO_MARK)
    llama_decoder = sequence("decoders", REPLACE, {"type": "ByteFallback"}, FUSE, {"type": "Strip", "content": " ", "start": 1, "stop": 0})
    yield from case("byte fallback", model=FALLBACK, normalizer=llama_normalizer, decoder=llama_decoder)
    yield from case("byte fallback, Metaspace first", model=FALLBACK, pre_tokenizer={**METASPACE, "prepend_scheme": "first", "split": False}, decoder=llama_decoder)
    yield from case("Unigram byte fallback", model={**UNIGRAM, "byte_fallback": True, "vocab": UNIGRAM["vocab"][:60] + [[f"<0x{byte:02X}>", -20.0] for byte in range(256)]}, decoder=llama_decoder)
    few = bpe(list("▁abcdehlorw "), ["h e", "l l"])
    yield from case("unknown characters", model=few)
    yield from case("unknown characters fused", model={**few, "fuse_unk": True})
    yield from case("unknown characters left out", model={**few, "unk_token": None})
    yield from case("ignored merges", model=bpe(ignore_merges=True), pre_tokenizer={"type": "WhitespaceSplit"})
    suffixed = bpe([*CHARS, *(char + "</w>" for char in CHARS)], ["h e", "l l", "he ll", "hell o</w>", "a b</w>"], end_of_word_suffix="</w>")
    yield from case("end of word", model=suffixed, pre_tokenizer={"type": "WhitespaceSplit"}, decoder={"type": "BPEDecoder", "suffix": "</w>"})
    prefixed = bpe([*CHARS, *("##" + char for char in CHARS)], ["h ##e", "##l ##l", "he ##ll"], continuing_subword_prefix="##")
    yield from case("subword prefix", model=prefixed, pre_tokenizer={"type": "WhitespaceSplit"}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": False})
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    for cleanup in [False, True]:
        yield from case(f"WordPiece {cleanup}", model=WORDPIECE, normalizer=bert, pre_tokenizer={"type": "BertPreTokenizer"}, decoder={"type": "WordPiece", "prefix": "##", "cleanup": cleanup})
    yield from case("no decoder", decoder=None)
    yield from case("decoder Replace regex", decoder=sequence("decoders", {"type": "Replace", "pattern": {"Regex": "[▁ ]+"}, "content": "_"}, FUSE))
    yield from case("decoder Strip", decoder=sequence("decoders", FUSE, {"type": "Strip", "content": " ", "start": 2, "stop": 0}))
    wordless = bpe(merges=[merge for merge in MERGES if merge != "wo rd"])
    size = len(wordless["vocab"])
    for name, fields in {
        "single_word": {"single_word": True},
        "lstrip": {"lstrip": True},
        "rstrip": {"rstrip": True},
        "normalized": {"normalized": True, "special": False},
        "plain": {"special": False},
    }.items():
        tokens = [*(added(token, index) for index, token in enumerate(SPECIALS)), added("word", size, **fields), added("<mask>", size + 1, **fields)]
        yield from case(f"added token {name}", model=wordless, added_tokens=tokens, normalizer={"type": "Lowercase"})
    pieces = lambda *ids: [{"Sequence": {"id": "A", "type_id": 0}} if token == "A" else {"SpecialToken": {"id": token, "type_id": 0}} for token in ids]
    entry = lambda name, *tokens: {"id": name, "ids": [SPECIALS.index(token) for token in tokens], "tokens": list(tokens)}
    template = {"type": "TemplateProcessing", "single": pieces("<s>", "A", "</s>"), "pair": pieces("<s>", "A", "</s>") + [{"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {token: entry(token, token) for token in SPECIALS}}
    yield from case("TemplateProcessing", post_processor=template)
    double = {**template, "single": pieces("both", "A"), "special_tokens": {**template["special_tokens"], "both": entry("both", "<s>", "</s>")}}
    yield from case("TemplateProcessing of two", post_processor=double)
    yield from case("BertProcessing", post_processor={"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]})
    yield from case("RobertaProcessing", post_processor={"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True, "add_prefix_space": False})
    yield from case("Sequence of processors", post_processor=sequence("processors", BYTE_LEVEL, template))


def main():
    out = []
    for name, value in cases():
        tokenizer = Tokenizer.from_str(json.dumps(value))
        rows = []
        for text in TEXTS:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            framed = tokenizer.encode(text).ids
            plain, raw = tokenizer.decode(ids), tokenizer.decode(ids, skip_special_tokens=False)
            rows.append([ids, None if framed == ids else framed, plain, None if raw == plain else raw])
        out.append({"name": name, "tokenizer": value, "rows": rows})
    lines = ",\n".join(json.dumps(case, ensure_ascii=True, separators=(",", ":")) for case in out)
    OUT.write_text(f'{{"texts": {json.dumps(TEXTS)},\n"cases": [\n{lines}\n]}}\n')
    print(f"{len(out)} tokenizers")


if __name__ == "__main__":
    main()
