"""Turns a folder of public-domain books into two token streams for train.py.

CORPUS holds one folder per author with that author's books as markdown files. MODEL holds tokenizer.json and
tokenizer_config.json, whose chat template writes the chat turns. Written to OUTPUT:
  train.bin       uint16 token ids: the books, then chat turns made from them, then dialogues with tool calls
  val.bin         the books of VALIDATION_BOOKS, then chat turns made from them
  tokenizer.json  with --train-tokenizer only: byte-level BPE, 4096 entries, five special tokens with ids 0 to 4
Passages with slurs and the vocabulary of degrading stereotypes are left out (passage_filter.py); the counts before and
after are printed. The result is the same for the same corpus: the random generator is seeded.
"""

import argparse
import collections
import os
import random
import re

import numpy as np
from passage_filter import PassageFilter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tool_turns import ChatTemplate, call_dialogue, definition, draw_tools, maybe_system_message

VOCAB_SIZE = 4096
SPECIAL_TOKENS = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
VALIDATION_BOOKS = {"The Chessmen of Mars", "A Christmas Carol", "The Stockbroker's Clerk"}
TOOL_DIALOGUES = 12000

AUTHORS = """
Arthur Conan Doyle|Jules Verne|H.G. Wells|Mark Twain|Jack London|L. Frank Baum|Edith Nesbit|Frances Hodgson Burnett|
Hans Christian Andersen|George MacDonald|Howard Pyle|Robert Louis Stevenson|Rudyard Kipling|Lewis Carroll|J.M. Barrie|
Edgar Rice Burroughs|Louisa May Alcott|Lucy Maud Montgomery|H. Rider Haggard|Bram Stoker|Jane Austen|Edgar Allan Poe|
Oscar Wilde|Lord Dunsany|Jerome K. Jerome|Johann David Wyss|R.M. Ballantyne|Jonathan Swift|Daniel Defoe|Mayne Reid|
Maurice Leblanc|John Buchan|G.K. Chesterton|Charles Dickens|Rafael Sabatini|Gaston Leroux|Baroness Orczy|Emma Orczy|
Kenneth Grahame|Brothers Grimm|Aesop|Anna Sewell|Johanna Spyri|Carlo Collodi|Beatrix Potter|Washington Irving|
Nathaniel Hawthorne|Anthony Hope|Hugh Lofting|Robert W. Chambers|M.R. James|William Hope Hodgson|Booth Tarkington|
Jean Webster|Eleanor H. Porter|Kate Douglas Wiggin|Charles Kingsley|Thomas Hardy|Wilkie Collins|O. Henry|Saki|
Anna Katharine Green|E. Nesbit|Willa Cather|Gene Stratton-Porter|Zane Grey|Andy Adams|Stephen Crane|Ambrose Bierce|
J. M. Barrie|The Brothers Grimm|Alexandre Dumas|Walter Scott|William Morris|Johnston McCulley|Abraham Merritt|
David Lindsay|James Stephens|Abbie Farwell Brown|R.D. Blackmore
""".replace("\n", "").split("|")

PLAIN_PUNCTUATION = {
    "\r": "",
    "“": '"',
    "”": '"',
    "’": "'",
    "‘": "'",
    "—": "--",
    "…": "...",
    "\u00a0": " ",
}

# Frequent words that say nothing about what a passage is about.
COMMON_WORDS = set(
    """
    that with this from have were been they them their there then than what when where which while would could should
    about into over upon such only some more most very much many must will shall your yours mine ours also even ever
    never being does doing done made make came come went going gone said says tell told know knew known think thought
    like just well little great good before after again against under down through thing things time times said here
    every other another without those these himself herself itself myself yourself nothing something anything always
    because though although still back away last first long might having left right hand head eyes face took take taken
    seemed seem looked look asked answered replied cried quite rather perhaps indeed yet among between until both each
    same own saw seen heard felt find found give given gave turn turned young once half part place place course better
    best enough sort kind whole moment having began soon almost
    """.split()
)

REQUESTS = [
    "Tell me a story about {}.",
    "Write a story about {}.",
    "Tell me about {}.",
    "I want a story with {} in it.",
    "Can you write me a tale of {}?",
    "A short story about {}, please.",
]


def plain_text(markdown):
    """Markdown without links, emphasis, tags and escapes, with ASCII quotes and dashes."""
    text = re.sub(r"\[\^?[^\]]*\]\([^)]*\)", "", markdown)
    text = re.sub(r"[_*#>]+", "", text)
    text = re.sub(r"<[^>]+>", "", text)
    for fancy, plain in PLAIN_PUNCTUATION.items():
        text = text.replace(fancy, plain)
    return re.sub(r"\\(.)", r"\1", text)


def paragraphs_of(text):
    """Paragraphs as single lines; headings and other short or upper-case lines are dropped."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        paragraph = " ".join(block.split())
        if len(paragraph) >= 25 and re.search(r"[a-z]", paragraph):
            paragraphs.append(paragraph)
    return paragraphs


def read_books(corpus):
    """(title, paragraphs) of each book, in the order of AUTHORS and file names."""
    books = []
    for author in AUTHORS:
        folder = os.path.join(corpus, author)
        if not os.path.isdir(folder):
            continue
        for name in sorted(os.listdir(folder)):
            if not name.endswith(".md"):
                continue
            with open(os.path.join(folder, name), encoding="utf8", errors="ignore") as file:
                paragraphs = paragraphs_of(plain_text(file.read()))
            if len(paragraphs) > 20:
                books.append((name.removesuffix(".md").strip(), paragraphs))
    return books


def filter_books(books, passages):
    """(title, runs of paragraphs) of what is left of each book; prints what was found and left out."""
    before, after = collections.Counter(), collections.Counter()
    characters = [0, 0]
    kept = []
    for title, paragraphs in books:
        runs = passages.keep(paragraphs)
        before += passages.counts(paragraphs)
        for run in runs:
            after += passages.counts(run)
        characters[0] += sum(map(len, paragraphs))
        characters[1] += sum(len(paragraph) for run in runs for paragraph in run)
        if runs:
            kept.append((title, runs))
        else:
            print("left out:", title)
    print("books", len(books), "to", len(kept), "characters", characters[0] / 1e6, "M to", characters[1] / 1e6, "M")
    for category, count in sorted(before.items()):
        print("matches of", category, count, "to", after[category])
    return kept


def train_tokenizer(books):
    """Byte-level BPE learnt from the first 400 paragraphs of each book."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
    )
    starts = ([paragraph for run in runs for paragraph in run][:400] for _, runs in books)
    tokenizer.train_from_iterator(["\n\n".join(start) for start in starts], trainer)
    return tokenizer


def words_of(text):
    return re.findall(r"[a-z]{4,12}", text)


def topic_words(books, passages):
    """Words frequent enough to learn and specific enough to ask for: mostly concrete nouns."""
    counts = collections.Counter()
    for _, runs in books:
        for run in runs:
            for paragraph in run:
                counts.update(words_of(paragraph))
    return {
        word
        for word, count in counts.most_common(3500)
        if word not in COMMON_WORDS
        and count > 300
        and not word.endswith(("ly", "ed", "ing"))
        and not passages.find(f"the {word}, a {word}.")
    }


def with_article(word):
    if random.random() < 0.5:
        return "the " + word
    return ("an " if word[0] in "aeiou" else "a ") + word


def request_for(words):
    """A user's request for a story about one to three of `words`."""
    chosen = random.sample(words, min(len(words), random.choice([1, 2, 2, 3])))
    phrases = [with_article(word) for word in chosen]
    topic = phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]
    return random.choice(REQUESTS).format(topic)


class StreamBuilder:
    """Encodes books as plain text and as chat turns whose answers are passages of the books."""

    def __init__(self, tokenizer, template, topics, passages):
        self.tokenizer = tokenizer
        self.template = template
        self.topics = topics
        self.passages = passages
        self.end_of_text = tokenizer.token_to_id("<|endoftext|>")

    def encode(self, texts):
        """The ids of the texts, one after another."""
        return np.concatenate([encoding.ids for encoding in self.tokenizer.encode_batch(texts)]).astype(np.uint16)

    def text(self, books):
        parts = []
        for _, runs in books:
            paragraphs = [paragraph for run in runs for paragraph in run]
            parts.append(
                self.encode(
                    ["\n\n".join(paragraphs[start : start + 40]) + "\n\n" for start in range(0, len(paragraphs), 40)]
                )
            )
            parts.append(np.array([self.end_of_text], dtype=np.uint16))
        return np.concatenate(parts)

    def chat(self, books):
        return self.encode([text for _, runs in books for run in runs for text in self.story_turns(run)])

    def tool_calls(self, count):
        return self.encode([self.dialogue(*call_dialogue()) for _ in range(count)])

    def story_turns(self, run):
        """About half of the passages of 200 to 1600 characters that name two topics or more."""
        start = 0
        while start < len(run):
            stop, characters = start, 0
            while stop < len(run) and characters < 700:
                characters += len(run[stop])
                stop += 1
            if 200 < characters < 1600 and random.random() < 0.5:
                passage = "\n\n".join(run[start:stop])
                words = [word for word in dict.fromkeys(words_of(passage)) if word in self.topics]
                if len(words) >= 2:
                    yield self.story_turn(request_for(words), passage)
            start = stop

    def story_turn(self, request, answer):
        """One in eight has a system message, one in ten tools that are of no use for it."""
        messages = [*maybe_system_message(0.12), {"role": "user", "content": request}]
        messages.append({"role": "assistant", "content": answer})
        tools = [definition(tool) for tool in draw_tools()] if random.random() < 0.1 else None
        return self.dialogue(messages, tools)

    def dialogue(self, messages, tools):
        text = self.template.render(messages, tools)
        if self.passages.find(text):
            raise ValueError(f"a chat turn has an unwanted word: {text}")
        return text.removesuffix("\n") + "<|endoftext|>"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="folder of author folders with markdown books")
    parser.add_argument("model", help="folder with tokenizer.json and tokenizer_config.json")
    parser.add_argument("output", help="existing folder for train.bin and val.bin")
    parser.add_argument("--train-tokenizer", action="store_true", help="learn a new tokenizer.json from the books")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    random.seed(0)
    passages = PassageFilter()
    books = filter_books(read_books(arguments.corpus), passages)

    if arguments.train_tokenizer:
        tokenizer = train_tokenizer(books)
        tokenizer.save(os.path.join(arguments.output, "tokenizer.json"))
    else:
        tokenizer = Tokenizer.from_file(os.path.join(arguments.model, "tokenizer.json"))
    topics = topic_words(books, passages)
    print("topic words", len(topics))

    template = ChatTemplate(os.path.join(arguments.model, "tokenizer_config.json"))
    builder = StreamBuilder(tokenizer, template, topics, passages)
    held_out = [book for book in books if book[0] in VALIDATION_BOOKS]
    training = [book for book in books if book[0] not in VALIDATION_BOOKS]
    random.shuffle(training)
    parts = {
        "train": [builder.text(training), builder.chat(training), builder.tool_calls(TOOL_DIALOGUES)],
        "val": [builder.text(held_out), builder.chat(held_out)],
    }
    for name, streams in parts.items():
        print(name, "tokens of text, chat, tool calls in M:", [len(stream) / 1e6 for stream in streams])
        np.concatenate(streams).tofile(os.path.join(arguments.output, f"{name}.bin"))


if __name__ == "__main__":
    main()
