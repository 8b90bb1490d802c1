import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { ChatLoop } from "../../src/cli/chat-loop";
import { ChatSession } from "../../src/cli/chat-session";
import type { ChatMessage } from "../../src/llm/types";
import { FakeLanguageModel, type FakeLanguageModelOptions } from "../helpers/fake-language-model";
import { until } from "../helpers/until";
import { run } from "./run";

test("two piped messages: the second sees the first; only answers come out", async () => {
  const input =
    "Tell me a story about the king.\n/reset\nTell me a story about the king.\nAnd then?\n/exit\nNever said.\n";
  const { code, stdout, stderr } = await run(["chat", "--temperature", "0", "--max-tokens", "12"], { input });
  expect(code).toBe(0);
  expect(stderr).toBe("The conversation starts over.\n\n");
  // Greedy, so a conversation that starts over repeats its first answer.
  const [first = ""] = stdout.split("\n");
  expect(first).not.toBe("");
  expect(stdout.split(first)).toHaveLength(3);
});

/** A loop over a model without weights. */
function talk(options: FakeLanguageModelOptions & { interactive?: boolean; system?: string; maxTokens?: number } = {}) {
  const model = new FakeLanguageModel(options);
  const session = new ChatSession(model, { maxTokens: options.maxTokens ?? 3 }, options.system);
  const [input, output, notices] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const done = new ChatLoop(session, { input, output, notices, interactive: options.interactive ?? false }).run();
  const result = done.finally(() => {
    output.end();
    notices.end();
  });
  const prompts = () =>
    model.calls.map(({ prompt }) => (prompt as readonly ChatMessage[]).map(({ role }) => role).join());
  return { model, input, output: text(output), notices: text(notices), result, prompts };
}

test("turns, system prompts and commands", async () => {
  const chat = talk({ system: "Be brief." });
  chat.input.end("one\n\ntwo\n/system\n/system Be a pirate.\nthree\n/system\n/what\n/help");
  expect(await chat.result).toBe(true);
  expect(chat.prompts()).toEqual(["system,user", "system,user,assistant,user", "system,user"]);
  expect((await chat.output).trim().split("\n")).toHaveLength(3);
  const notices = await chat.notices;
  expect(notices).toContain("Be brief.\n\nThe conversation starts over.\n\nBe a pirate.\n\nThere is no /what.");
  expect(notices).toMatch(/\/exit +leave/);
});

test("a message that the model fails on is forgotten, and told in the end", async () => {
  const chat = talk({ maxModelLen: 4 });
  chat.input.end(`${"long ".repeat(50)}\nshort\n`);
  expect(await chat.result).toBe(false);
  expect(await chat.notices).toContain("(ERR_TOO_LONG)\nhint: shorten the text, or raise --max-model-len\n");
  expect(chat.prompts()).toEqual(["user", "user"]);
});

describe("on a terminal", () => {
  const ctrlC = "\x03";

  test("Ctrl-C ends the answer, which is kept as far as it came; /exit leaves", async () => {
    const chat = talk({ interactive: true, delayMs: 5, maxTokens: 4000 });
    chat.input.write("endless\r");
    await until(() => chat.model.running === 1);
    chat.input.write(ctrlC);
    await until(() => chat.model.running === 0);
    chat.input.write("more\r");
    await until(() => chat.model.running === 1);
    chat.input.write(ctrlC);
    await until(() => chat.model.running === 0);
    chat.input.write("/exit\r");
    expect(await chat.result).toBe(true);
    expect(chat.prompts()).toEqual(["user", "user,assistant,user"]);
  });

  test("at the prompt the second Ctrl-C leaves; the first forgets what was typed", async () => {
    const chat = talk({ interactive: true });
    chat.input.write("half a thou");
    chat.input.write(ctrlC);
    chat.input.write("whole\r");
    await until(() => chat.model.calls.length === 1);
    expect(chat.model.calls[0]!.prompt).toEqual([{ role: "user", content: "whole" }]);
    await until(() => chat.model.running === 0);
    chat.input.write(ctrlC);
    chat.input.write(ctrlC);
    expect(await chat.result).toBe(true);
    expect((await chat.notices).split("(Ctrl-C again leaves)")).toHaveLength(3);
  });

  test("Ctrl-D during an answer ends both", async () => {
    const chat = talk({ interactive: true, delayMs: 5, maxTokens: 4000 });
    chat.input.write("endless\r");
    await until(() => chat.model.running === 1);
    chat.input.write("\x04");
    expect(await chat.result).toBe(true);
    expect(chat.model.running).toBe(0);
  });
});
