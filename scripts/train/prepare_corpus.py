"""Turns a folder of public-domain books into a tokenizer and two token streams for train.py.

CORPUS holds one folder per author with that author's books as markdown files. Written to OUTPUT:
  tokenizer.json  byte-level BPE, 4096 entries, five special tokens with ids 0 to 4
  train.bin       uint16 token ids: the books, then chat turns made from them
  val.bin         the same for six held-out books, at most 400,000 + 100,000 tokens
The result is the same for the same corpus: the random generator is seeded.
"""

import argparse
import collections
import os
import random
import re

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB_SIZE = 4096
SPECIAL_TOKENS = ["<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>"]
VALIDATION_BOOKS = 6

AUTHORS = """
Arthur Conan Doyle|Jules Verne|H.G. Wells|Mark Twain|Jack London|L. Frank Baum|Edith Nesbit|Frances Hodgson Burnett|
Hans Christian Andersen|George MacDonald|Howard Pyle|Robert Louis Stevenson|Rudyard Kipling|Lewis Carroll|J.M. Barrie|
Edgar Rice Burroughs|Louisa May Alcott|Lucy Maud Montgomery|H. Rider Haggard|Bram Stoker|Jane Austen|Edgar Allan Poe|
Oscar Wilde|Lord Dunsany|Jerome K. Jerome|Johann David Wyss|R.M. Ballantyne|Jonathan Swift|Daniel Defoe|Mayne Reid|
Maurice Leblanc|John Buchan|G.K. Chesterton|Charles Dickens|Rafael Sabatini|Gaston Leroux|Baroness Orczy|Emma Orczy|
Kenneth Grahame|Brothers Grimm|Aesop|Anna Sewell|Johanna Spyri|Carlo Collodi|Beatrix Potter|Washington Irving|
Nathaniel Hawthorne|Anthony Hope|Hugh Lofting|Robert W. Chambers|M.R. James|William Hope Hodgson|Booth Tarkington|
Jean Webster|Eleanor H. Porter|Kate Douglas Wiggin|Charles Kingsley|Thomas Hardy|Wilkie Collins|O. Henry|Saki|
Anna Katharine Green|E. Nesbit|Willa Cather|Gene Stratton-Porter|Zane Grey|Andy Adams|Stephen Crane|Ambrose Bierce
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
    """One list of paragraphs per book, in the order of AUTHORS and file names."""
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
                books.append(paragraphs)
    return books


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
    tokenizer.train_from_iterator(["\n\n".join(book[:400]) for book in books], trainer)
    return tokenizer


def words_of(text):
    return re.findall(r"[a-z]{4,12}", text)


def topic_words(books):
    """Words frequent enough to learn and specific enough to ask for: mostly concrete nouns."""
    counts = collections.Counter()
    for book in books:
        for paragraph in book:
            counts.update(words_of(paragraph))
    return {
        word
        for word, count in counts.most_common(3500)
        if word not in COMMON_WORDS and count > 300 and not word.endswith(("ly", "ed", "ing"))
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

    def __init__(self, tokenizer, topics):
        self.tokenizer = tokenizer
        self.topics = topics
        ids = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS]
        self.end_of_text, self.user, self.assistant, _, self.end = ids

    def encode(self, text):
        return self.tokenizer.encode(text).ids

    def build(self, books):
        """(ids of the books, ids of the chat turns)"""
        text, chat = [], []
        for book in books:
            text += self.book(book)
            chat += self.chat(book)
        return text, chat

    def book(self, book):
        ids = []
        for start in range(0, len(book), 40):
            ids += self.encode("\n\n".join(book[start : start + 40]) + "\n\n")
        ids.append(self.end_of_text)
        return ids

    def chat(self, book):
        """About half of the passages of 200 to 1600 characters that name two topics or more."""
        ids = []
        start = 0
        while start < len(book):
            stop, characters = start, 0
            while stop < len(book) and characters < 700:
                characters += len(book[stop])
                stop += 1
            if 200 < characters < 1600 and random.random() < 0.5:
                passage = "\n\n".join(book[start:stop])
                words = [word for word in dict.fromkeys(words_of(passage)) if word in self.topics]
                if len(words) >= 2:
                    ids += self.turn(request_for(words), passage)
            start = stop
        return ids

    def turn(self, request, answer):
        question = [self.user] + self.encode("\n" + request) + [self.end] + self.encode("\n")
        return question + [self.assistant] + self.encode("\n" + answer) + [self.end, self.end_of_text]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="folder of author folders with markdown books")
    parser.add_argument("output", help="existing folder for tokenizer.json, train.bin and val.bin")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    random.seed(0)
    books = read_books(arguments.corpus)
    characters = sum(len(paragraph) for book in books for paragraph in book)
    print("books", len(books), "characters", characters / 1e6, "M")

    tokenizer = train_tokenizer(books)
    tokenizer.save(os.path.join(arguments.output, "tokenizer.json"))
    topics = topic_words(books)
    print("topic words", len(topics))

    random.shuffle(books)
    builder = StreamBuilder(tokenizer, topics)
    val_text, val_chat = builder.build(books[:VALIDATION_BOOKS])
    train_text, train_chat = builder.build(books[VALIDATION_BOOKS:])
    print("train tokens", len(train_text) / 1e6, "M, chat", len(train_chat) / 1e6, "M")
    print("val tokens", len(val_text) / 1e6, "M, chat", len(val_chat) / 1e6, "M")

    train = np.array(train_text + train_chat, dtype=np.uint16)
    train.tofile(os.path.join(arguments.output, "train.bin"))
    val = np.array(val_text[:400000] + val_chat[:100000], dtype=np.uint16)
    val.tofile(os.path.join(arguments.output, "val.bin"))


if __name__ == "__main__":
    main()
