import type { EngineToken } from "../../src/engine/policy/request";
import { TextGeneration } from "../../src/llm/generation";
import { StopStrings } from "../../src/llm/stop-strings";
import { TokenDescriber } from "../../src/llm/token-describer";
import type { GenerationChunk } from "../../src/llm/types";
import { Detokenizer } from "../../src/tokenizer/detokenizer";
import type { Tokenizer } from "../../src/tokenizer/tokenizer";
import { loadJson, metaspace, sentencePiece, wordPiece } from "../tokenizer/fixtures";

function ofPrompt(tokenizer: Tokenizer, ids: readonly number[], text: string | null) {
  const scores = ids.slice(1).map(() => ({ logprob: -1, rank: 1, top: [] }));
  return new TokenDescriber(tokenizer).prompt(ids, text, scores).map(({ textOffset }) => textOffset);
}

describe("a prompt's tokens", () => {
  test.each([
    ["once upon a", sentencePiece, ["<s>", "▁once", "▁", "u", "p", "on", "▁a"], [0, 0, 4, 5, 6, 7, 9]],
    ["  a", sentencePiece, ["<s>", "▁", "▁", "▁a"], [0, 0, 0, 1]],
    ["a</s>on", sentencePiece, ["<s>", "▁a", "</s>", "▁", "on"], [0, 0, 1, 5, 5]],
    ["once a", metaspace, ["▁once", "▁a"], [0, 4]],
    ["the PLAYING game", wordPiece, ["the", "play", "##ing", "game"], [0, 3, 8, 11]],
  ] as const)("of %j begin where their text does", async (text, json, names, offsets) => {
    const tokenizer = loadJson(json);
    const ids = await tokenizer.encode(text);
    expect(ids.map((id) => tokenizer.token(id))).toEqual(names);
    expect(ofPrompt(tokenizer, ids, text)).toEqual(offsets);
  });

  test("a character of three tokens is where each of them begins", async () => {
    const tokenizer = loadJson(sentencePiece);
    const ids = await tokenizer.encode("a日on");
    expect(ids.map((id) => tokenizer.token(id))).toEqual(["<s>", "▁a", "<0xE6>", "<0x97>", "<0xA5>", "on"]);
    expect(ofPrompt(tokenizer, ids, "a日on")).toEqual([0, 0, 1, 1, 1, 2]);
    expect(ofPrompt(tokenizer, ids, null)).toEqual([0, 3, 5, 5, 5, 6]);
  });
});

describe("an output's tokens", () => {
  async function generate(stop: readonly string[]) {
    const tokenizer = loadJson(sentencePiece);
    const names = ["▁a", "<0xE6>", "<0x97>", "<0xA5>", "</s>", "▁once", "on", "c"];
    const describer = new TokenDescriber(tokenizer);
    async function* tokens(): AsyncGenerator<EngineToken> {
      for (const [i, name] of names.entries()) {
        const finishReason = i === names.length - 1 ? "length" : null;
        yield { id: tokenizer.tokenId(name)!, logprobs: { logprob: -1, rank: 1, top: [] }, finishReason };
      }
    }
    const generation = new TextGeneration(
      "1",
      async () => ({
        promptTokenIds: [0],
        tokens: tokens(),
        detokenizer: new Detokenizer(tokenizer, { context: [tokenizer.tokenId("a")!] }),
        stop: new StopStrings(stop),
        describe: (token, textOffset) => describer.token(token, textOffset),
        describePrompt: null,
        promptOnly: false,
      }),
      undefined,
    );
    const chunks: GenerationChunk[] = [];
    for await (const chunk of generation) chunks.push(chunk);
    return {
      text: chunks.map(({ text }) => text).join(""),
      offsets: chunks.flatMap(({ logprobs }) => logprobs!.map(({ textOffset }) => textOffset)),
    };
  }

  test("begin where their text does", async () => {
    expect(await generate([])).toEqual({ text: " a日 onceonc", offsets: [0, 2, 2, 2, 3, 3, 8, 10] });
  });

  test("begin in the text, also those of a stop string", async () => {
    expect(await generate(["ceon"])).toEqual({ text: " a日 on", offsets: [0, 2, 2, 2, 3, 3, 6] });
  });
});
