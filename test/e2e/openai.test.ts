import { LLM } from "../../src/llm/llm";
import { type EngineLoader, loadEngine } from "../../src/llm/load-engine";
import { type RunningServer, serve } from "../../src/server/serve";
import { engineInChild } from "../helpers/engine-in-child";
import { openaiConformance } from "../helpers/openai-conformance";
import { until } from "../helpers/until";

describe.each<[string, EngineLoader]>([
  ["in this process", loadEngine],
  ["in a process of its own", engineInChild()],
])("the official client against the bundled model %s", (_, engineOf) => {
  let llm: LLM;
  let server: RunningServer;
  beforeAll(async () => {
    llm = await LLM.load(undefined, { maxNumSeqs: 16 }, engineOf);
    server = await serve(llm, { port: 0 });
    await llm.ready();
  });
  afterAll(() => server.close());

  openaiConformance(() => ({
    baseURL: `${server.url}/v1`,
    model: llm.info.id,
    running: () => llm.stats().running,
  }));

  test("many streams at once, some cut short, each with the text it has alone", async () => {
    const request = (seed: number) => ({
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ prompt: "Once upon a time", max_tokens: 24, seed, temperature: 1, ignore_eos: true }),
    });
    const complete = async (seed: number) => {
      const response = await fetch(`${server.url}/v1/completions`, request(seed));
      expect(response.status).toBe(200);
      const body = (await response.json()) as { choices: { text: string }[] };
      return body.choices[0]!.text;
    };
    const alone = [await complete(1), await complete(2), await complete(3)];
    const crowd = await Promise.all(
      Array.from({ length: 48 }, async (_, i) => {
        if (i % 8 !== 7) return complete(1 + (i % 3));
        await fetch(`${server.url}/v1/completions`, { ...request(1), signal: AbortSignal.timeout(20) }).catch(() => {});
        return null;
      }),
    );
    for (const [i, text] of crowd.entries()) if (text !== null) expect(text).toBe(alone[i % 3]);
    await until(() => llm.stats().running + llm.stats().slotsUsed === 0);
    expect(llm.stats()).toMatchObject({ waiting: 0 });
  });
});
