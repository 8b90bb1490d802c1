import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { Tokenizer } from "../../src/tokenizer/tokenizer";
import { bundledDir, loadJson, metaspace, modelDir, sentencePiece, unigram, wordPiece } from "./fixtures";

const bundled = Tokenizer.load(bundledDir);
const character = (min: number, max: number) => fc.integer({ min, max }).map((code) => String.fromCodePoint(code));
const codePoint = character(0, 0x10ffff);
const codeUnit = character(0xd700, 0xe0ff);
const ascii = character(0, 0x7f);
const raw = { skipSpecialTokens: false };

afterAll(() => bundled.close());

describe("the bundled model", () => {
  it("reports its vocabulary, special tokens and template", () => {
    expect(bundled.vocabSize).toBe(4096);
    expect([...bundled.specialIds]).toEqual([0, 1, 2, 3, 4]);
    expect(bundled.bosTokenId).toBe(0);
    expect(bundled.eosTokenIds).toEqual([4]);
    expect(bundled.tokenId("<|end|>")).toBe(4);
    expect(bundled.specialTokens).toMatchObject({ bos_token: "<|endoftext|>", eos_token: "<|end|>" });
    expect(bundled.chatTemplate).toContain("add_generation_prompt");
  });

  // Ids written by the Python library that trained the tokenizer.
  it.each([
    ["Once upon a time there was a", [51, 1420, 501, 263, 585, 467, 310, 263]],
    [`"Well, Watson," said Holmes,`, [6, 1275, 16, 2642, 423, 406, 1252, 16]],
    [
      "<|user|>\nTell me a story about the king and a ship.<|end|>\n<|assistant|>\n",
      [1, 203, 56, 505, 360, 263, 1693, 536, 265, 2059, 280, 263, 1503, 18, 4, 203, 2, 203],
    ],
    [
      ` the sea was calm.\n\n"I am glad to see you, sir," said I, "but`,
      [265, 1218, 310, 2733, 18, 203, 203, 6, 45, 543, 1816, 284, 591, 342, 16, 1230, 423, 406, 299, 16, 387, 1333],
    ],
  ])("encodes and decodes %j as the reference does", async (text, ids) => {
    expect(await bundled.encode(text)).toEqual(ids);
    expect(bundled.decode(ids, raw)).toBe(text);
  });

  it.each([
    ["", ""],
    ["naïve café, Ωμέγα, 漢字, עברית", undefined],
    ["👩‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿 e\u0301", undefined],
    ["\u0000\u0001\u007f\u0085\u2028\uFEFFbom", undefined],
    ["a . b , c n't 's ?", undefined],
    ["  two\t\ttabs \r\n\r\n ", undefined],
    ["\uD800 lone \uDC00\uD800", "\uFFFD lone \uFFFD\uFFFD"],
  ])("round-trips %j", async (text, expected) => {
    expect(bundled.decode(await bundled.encode(text), raw)).toBe(expected ?? text);
  });

  it("round-trips any text", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(codePoint, codeUnit, ascii), { maxLength: 60 }), async (characters) => {
        const text = characters.join("").replaceAll("\uFDD0", "");
        expect(bundled.decode(await bundled.encode(bundled.escapeSpecial(text)), raw)).toBe(text.toWellFormed());
      }),
    );
  });

  it("gives each token the bytes its text is made of", async () => {
    const ids = await bundled.encode("naïve 漢字 😀");
    const joined = Buffer.concat(ids.map((id) => bundled.tokenBytes(id)));
    expect(joined.toString()).toBe("naïve 漢字 😀");
    expect(Buffer.from(bundled.tokenBytes(4)).toString()).toBe("<|end|>");
  });

  it.each([4096, 1e9, -1, 0.5, Number.NaN])("decodes id %d, which no token has, to nothing", (id) => {
    expect(bundled.decode([51, id, 1420])).toBe(bundled.decode([51, 1420]));
    expect(bundled.tokenBytes(id)).toHaveLength(0);
    expect(bundled.token(id)).toBeUndefined();
  });

  it("skips special tokens unless told not to", async () => {
    const ids = await bundled.encode("Hi<|end|>");
    expect(bundled.decode(ids)).toBe("Hi");
    expect(bundled.decode(ids, raw)).toBe("Hi<|end|>");
  });
});

describe("strings of special tokens in text", () => {
  const texts = ["<|user|>hi", "a<|end|><|end|>", "<|<|end|>end|>", "<|end|".repeat(3), "<|endoftext|>"];
  const control = (tokenizer: Tokenizer, ids: number[]) => ids.filter((id) => tokenizer.specialIds.has(id));

  it.each(texts)("%j escaped stays text inside of a prompt with real ones", async (text) => {
    const ids = await bundled.encode(`<|user|>${bundled.escapeSpecial(text)}<|end|>`);
    expect(control(bundled, ids)).toEqual([1, 4]);
    expect(bundled.decode(ids, raw)).toBe(`<|user|>${text}<|end|>`);
    expect(Tokenizer.unescape(bundled.escapeSpecial(text))).toBe(text);
  });

  it("finds those that a broken one laid bare, and those of one character", async () => {
    const vocab = Object.fromEntries([..."abcdeé"].map((token, id) => [token, id]));
    const added_tokens = ["§", "abc", "cde"].map((content, i) => ({ id: i + 6, content, special: true }));
    const tokenizer = loadJson({
      added_tokens,
      model: { type: "BPE", vocab: { ...vocab, "§": 6 }, merges: [] },
      decoder: { type: "Fuse" },
    });
    expect(control(tokenizer, await tokenizer.encode("abcde§"))).toEqual([7, 6]);
    expect(control(tokenizer, await tokenizer.encode(tokenizer.escapeSpecial("abcde§")))).toEqual([]);
  });

  it("are no pieces either that merges or a Unigram segmentation could reach", async () => {
    const merging = loadJson({
      added_tokens: [{ id: 3, content: "<s>", special: true }],
      model: { type: "BPE", vocab: { "<": 0, s: 1, ">": 2, "<s>": 3, "s>": 4 }, merges: ["s >", "< s>"] },
      decoder: { type: "Fuse" },
    });
    expect(await merging.encode("<s>")).toEqual([3]);
    expect(await merging.encode(merging.escapeSpecial("<s>"))).toEqual([0, 4]);
    const pieces = loadJson(unigram);
    expect(await pieces.encode("</s>")).toEqual([2]);
    expect(control(pieces, await pieces.encode(pieces.escapeSpecial("</s>ab")))).toEqual([]);
  });
});

describe("other layouts", () => {
  it("byte fallback spells what the vocabulary lacks, and BOS comes from the post-processor", async () => {
    const tokenizer = loadJson(sentencePiece, { bos_token: "<s>", eos_token: { content: "</s>" } });
    const ids = await tokenizer.encode("once a 漢");
    expect(ids[0]).toBe(1);
    expect(tokenizer.eosTokenIds).toEqual([2]);
    expect(await tokenizer.encode("once a 漢", { addSpecialTokens: false })).toEqual(ids.slice(1));
    expect(tokenizer.decode(ids)).toBe("once a 漢");
    expect(tokenizer.decode(ids, raw)).toBe("<s> once a 漢");
    expect(ids.slice(-3).flatMap((id) => [...tokenizer.tokenBytes(id)])).toEqual([0xe6, 0xbc, 0xa2]);
    expect(Buffer.from(tokenizer.tokenBytes(tokenizer.tokenId("▁once")!)).toString()).toBe(" once");
  });

  it("add_bos_token puts the BOS in front where the post-processor does not", async () => {
    const config = { bos_token: "<s>", add_bos_token: true };
    expect((await loadJson(metaspace, config).encode("a"))[0]).toBe(1);
    expect((await loadJson(sentencePiece, config).encode("a")).slice(0, 2)).toEqual([1, 280]);
  });

  it("WordPiece joins words with spaces", async () => {
    const tokenizer = loadJson(wordPiece);
    expect(await tokenizer.encode("playing the games.")).toEqual([1, 2, 4, 5, 3, 7]);
    expect(tokenizer.decode([1, 2, 4, 5, 3, 7])).toBe("playing the games.");
    expect(tokenizer.decode([])).toBe("");
  });

  it("counts tokens that only tokenizer_config.json names as special", async () => {
    const json = { ...metaspace, added_tokens: [] };
    const tokenizer = loadJson(json, {
      eos_token: "</s>",
      bos_token: "absent",
      additional_special_tokens: ["<s>"],
      added_tokens_decoder: { 0: { content: "<unk>", special: true } },
    });
    expect([...tokenizer.specialIds].sort()).toEqual([0, 1, 2]);
    expect(tokenizer.bosTokenId).toBeNull();
    expect((await tokenizer.encode("a</s>")).at(-1)).toBe(2);
  });

  it.each([
    [
      "a list",
      [
        { name: "tool_use", template: "no" },
        { name: "default", template: "yes" },
      ],
      undefined,
      "yes",
    ],
    ["a list without default", [{ name: "tool_use", template: "no" }], undefined, null],
    ["a file, before the config", "no", "yes", "yes"],
    ["none", undefined, undefined, null],
  ])("takes the chat template from %s", (_name, chat_template, file, expected) => {
    const dir = modelDir({ "tokenizer.json": metaspace, "tokenizer_config.json": { chat_template } });
    if (file !== undefined) writeFileSync(join(dir, "chat_template.jinja"), file);
    expect(Tokenizer.load(dir).chatTemplate).toBe(expected);
  });
});

describe("long texts", () => {
  it("are refused above maxChars before anything else", async () => {
    const tooLong = { code: "ERR_TOO_LONG", message: "the text has 11 characters, more than the 10 allowed" };
    await expect(bundled.encode("a".repeat(11), { maxChars: 10 })).rejects.toMatchObject(tooLong);
  });

  it("are refused where they have too many tokens for certain", async () => {
    const longest = Math.max(...Array.from({ length: bundled.vocabSize }, (_, id) => bundled.tokenBytes(id).length));
    const text = "é".repeat(longest);
    const refused = { code: "ERR_TOO_LONG", message: expect.stringContaining("at least 2 tokens, more than the 1") };
    await expect(bundled.encode(text, { maxTokens: 1 })).rejects.toMatchObject(refused);
    expect(await bundled.encode(text, { maxTokens: 2 })).toHaveLength(2 * longest);
  });

  it("give the ids of their end alone where only those are wanted", async () => {
    for (const length of [20, 2_000]) {
      const text = "once a ".repeat(length);
      const tokenizer = loadJson(sentencePiece);
      const all = await tokenizer.encode(text);
      for (const keepLast of [1, 3, all.length - 1, all.length, all.length + 1]) {
        expect(await tokenizer.encode(text, { keepLast })).toEqual(all.slice(-keepLast));
      }
      await tokenizer.close();
    }
  });

  it("give the same ids in a process of their own", async () => {
    const part = "Once upon a time. <|end|> 漢字 \uD800";
    const one = await bundled.encode(part);
    expect(await bundled.encode(part.repeat(600))).toEqual(new Array(600).fill(one).flat());
    const parts = await Promise.all([9_000, 10_000, 300_000].map((length) => bundled.encode("a".repeat(length))));
    expect(parts.map(({ length }) => length)).toEqual([9_000, 10_000, 300_000]);
    const tokenizer = loadJson(sentencePiece);
    expect((await tokenizer.encode("once a ".repeat(2000))).slice(0, 3)).toEqual([1, 284, 280]);
    await tokenizer.close();
  });

  it("end at the deadline, leave the event loop free and others unharmed", async () => {
    let turns = 0;
    const timer = setInterval(() => turns++, 5);
    const other = bundled.encode("b".repeat(200_000));
    const hostile = bundled.encode("a".repeat(4_000_000), { deadlineMs: 300 });
    await expect(hostile).rejects.toMatchObject({ code: "ERR_REQUEST", message: expect.stringContaining("300 ms") });
    clearInterval(timer);
    expect(turns).toBeGreaterThan(10);
    expect(await other).toHaveLength(200_000);
    expect(await bundled.encode("a".repeat(10_000))).toHaveLength(10_000);
  });

  it("of hostile clients do not hold up the others", async () => {
    const order: string[] = [];
    const hostile = Array.from({ length: 4 }, async () => {
      await bundled.encode("a".repeat(1_000_000)).catch(() => {});
      order.push("hostile");
    });
    for (const length of [100, 9_000, 20_000]) {
      await bundled.encode("a ".repeat(length / 2));
      order.push("other");
    }
    expect(order).toEqual(["other", "other", "other"]);
    await bundled.close();
    await Promise.all(hostile);
  });

  it("are refused after close", async () => {
    const tokenizer = loadJson(metaspace);
    await tokenizer.close();
    await expect(tokenizer.encode("a".repeat(10_000))).rejects.toMatchObject({ code: "ERR_CLOSED" });
  });
});
