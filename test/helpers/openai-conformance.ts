import OpenAI from "openai";
import { until } from "./until";

export interface ConformanceTarget {
  /** As "http://127.0.0.1:8000/v1". */
  readonly baseURL: string;
  /** The model's id. */
  readonly model: string;
  /** Generations in progress; where given, an abort is seen to reach the model. */
  readonly running?: () => number;
}

/**
 * Registers tests of what any server must do for the official client, whatever the model says. Call it inside a `describe`;
 * `target` is called within the tests, so that it may depend on what `beforeAll` started.
 * @param hasChat false for a model without a chat template
 */
export function openaiConformance(target: () => ConformanceTarget, { hasChat = true } = {}): void {
  const connect = () => new OpenAI({ baseURL: target().baseURL, apiKey: "none", maxRetries: 0, timeout: 60_000 });
  const prompt = "The river flows past the old";
  const messages = [{ role: "user" as const, content: prompt }];
  const chatTest = hasChat ? it : it.skip;
  /** Greedy, and exactly `max_tokens` long whatever the model says. */
  const greedy = () => ({ model: target().model, prompt, temperature: 0, max_tokens: 8, ignore_eos: true });

  it("lists and retrieves the model", async () => {
    const client = connect();
    const listed: OpenAI.Model[] = [];
    for await (const model of client.models.list()) listed.push(model);
    expect(listed).toEqual([expect.objectContaining({ id: target().model, object: "model" })]);
    expect(await client.models.retrieve(target().model)).toEqual(listed[0]);
  });

  it("completes a prompt", async () => {
    const completion = await connect().completions.create(greedy());
    expect(completion).toMatchObject({ object: "text_completion", model: target().model });
    expect(completion.id).toMatch(/^cmpl-/);
    expect(Math.abs(completion.created - Date.now() / 1000)).toBeLessThan(60);
    expect(completion.choices).toEqual([
      { index: 0, text: expect.any(String), logprobs: null, finish_reason: "length" },
    ]);
    const { prompt_tokens, completion_tokens, total_tokens } = completion.usage!;
    expect(prompt_tokens).toBeGreaterThan(0);
    expect(completion_tokens).toBe(8);
    expect(total_tokens).toBe(prompt_tokens + completion_tokens);
  });

  it("generates 16 tokens at most when max_tokens is left out", async () => {
    const { max_tokens: _, ...request } = greedy();
    expect((await connect().completions.create(request)).usage!.completion_tokens).toBe(16);
  });

  it("streams the text it would have answered with, and the usage when asked", async () => {
    const client = connect();
    const whole = await client.completions.create(greedy());
    const stream = await client.completions.create({
      ...greedy(),
      stream: true,
      stream_options: { include_usage: true },
    });
    const events: OpenAI.Completion[] = [];
    for await (const event of stream) events.push(event);
    expect(events.map((event) => event.choices[0]?.text ?? "").join("")).toBe(whole.choices[0]!.text);
    expect(new Set(events.map((event) => event.id)).size).toBe(1);
    const last = events.pop()!;
    expect(last).toMatchObject({ choices: [], usage: whole.usage });
    expect(events.map((event) => event.usage)).toEqual(events.map(() => null));
    expect(events.map((event) => event.choices[0]!.finish_reason)).toEqual([
      ...events.slice(1).map(() => null),
      "length",
    ]);
  });

  it("answers several prompts times n, in order, alike wherever a prompt stands", async () => {
    const client = connect();
    const other = "A stone falls";
    const request = { ...greedy(), n: 2, temperature: 1, seed: 11 };
    const both = await client.completions.create({ ...request, prompt: [other, prompt] });
    const alone = await client.completions.create({ ...request, prompt: [prompt] });
    expect(both.choices.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    expect(both.choices.slice(2).map(({ text }) => text)).toEqual(alone.choices.map(({ text }) => text));
    expect(both.usage!.completion_tokens).toBe(32);
  });

  it("repeats itself at temperature 0 and with a seed, in batches too", async () => {
    const client = connect();
    for (const request of [greedy(), { ...greedy(), temperature: 1, seed: 42 }]) {
      const answers = await Promise.all([1, 2, 3].map(() => client.completions.create(request)));
      expect(new Set(answers.map(({ choices }) => choices[0]!.text)).size).toBe(1);
    }
  });

  it("stops before a stop string, streamed or not", async () => {
    const client = connect();
    const { text } = (await client.completions.create(greedy())).choices[0]!;
    const characters = [...text];
    const stop = characters
      .slice(Math.floor(characters.length / 2))
      .slice(0, 3)
      .join("");
    const expected = text.slice(0, text.indexOf(stop));
    const whole = await client.completions.create({ ...greedy(), stop: ["never in the text", stop] });
    expect(whole.choices[0]).toMatchObject({ text: expected, finish_reason: "stop" });
    let streamed = "";
    for await (const event of await client.completions.create({ ...greedy(), stop, stream: true })) {
      streamed += event.choices[0]!.text;
    }
    expect(streamed).toBe(expected);
  });

  it("delivers log probabilities whose best is the greedy token's", async () => {
    const { logprobs } = (await connect().completions.create({ ...greedy(), logprobs: 3 })).choices[0]!;
    expect(logprobs!.tokens).toHaveLength(8);
    expect(logprobs!.text_offset).toHaveLength(8);
    logprobs!.token_logprobs!.forEach((logprob, i) => {
      expect(logprob).toBeLessThanOrEqual(0);
      expect(Math.max(...Object.values(logprobs!.top_logprobs![i]!))).toBe(logprob);
    });
  });

  chatTest("chats", async () => {
    const chat = await connect().chat.completions.create({ model: target().model, messages, max_tokens: 6, seed: 1 });
    expect(chat).toMatchObject({ object: "chat.completion", id: expect.stringMatching(/^chatcmpl-/) });
    const [choice] = chat.choices;
    expect(choice).toMatchObject({ index: 0, logprobs: null, message: { role: "assistant", refusal: null } });
    expect(["stop", "length"]).toContain(choice!.finish_reason);
    expect(chat.usage!.completion_tokens).toBeLessThanOrEqual(6);
  });

  chatTest("streams a chat: role, content, finish reason, usage", async () => {
    const client = connect();
    const request = { model: target().model, messages, max_completion_tokens: 6, temperature: 0 };
    const whole = await client.chat.completions.create(request);
    const stream = await client.chat.completions.create({
      ...request,
      stream: true,
      stream_options: { include_usage: true },
    });
    const events: OpenAI.ChatCompletionChunk[] = [];
    for await (const event of stream) events.push(event);
    const usage = events.pop()!;
    expect(usage).toMatchObject({ choices: [], usage: whole.usage });
    expect(events[0]!.choices[0]!.delta).toEqual({ role: "assistant", content: "" });
    expect(events.at(-1)!.choices[0]).toMatchObject({ delta: {}, finish_reason: whole.choices[0]!.finish_reason });
    const text = events.map((event) => event.choices[0]!.delta.content ?? "").join("");
    expect(text).toBe(whole.choices[0]!.message.content);
  });

  chatTest("works with the client's stream helper", async () => {
    const stream = connect().chat.completions.stream({
      model: target().model,
      messages,
      max_tokens: 6,
      temperature: 0,
    });
    const final = await stream.finalChatCompletion();
    expect(final.choices[0]!.message.role).toBe("assistant");
    expect(["stop", "length"]).toContain(final.choices[0]!.finish_reason);
  });

  chatTest("delivers the log probabilities of a chat", async () => {
    const chat = await connect().chat.completions.create({
      model: target().model,
      messages,
      max_tokens: 4,
      temperature: 0,
      logprobs: true,
      top_logprobs: 2,
    });
    const content = chat.choices[0]!.logprobs!.content!;
    expect(content).toHaveLength(chat.usage!.completion_tokens);
    for (const token of content) {
      expect(token.top_logprobs).toHaveLength(2);
      expect(token.top_logprobs[0]!.logprob).toBe(token.logprob);
    }
  });

  it("refuses another model with NotFoundError", async () => {
    const request = connect().completions.create({ ...greedy(), model: "no-such-model" });
    const error = await failure(request);
    expect(error).toBeInstanceOf(OpenAI.NotFoundError);
    expect(error).toMatchObject({ code: "model_not_found", param: "model", type: "invalid_request_error" });
  });

  it("refuses bad input with BadRequestError", async () => {
    const error = await failure(connect().completions.create({ ...greedy(), temperature: 3 }));
    expect(error).toBeInstanceOf(OpenAI.BadRequestError);
    expect(error).toMatchObject({ param: "temperature", type: "invalid_request_error" });
  });

  it("refuses a prompt that fills the context", async () => {
    const client = connect();
    const { max_model_len } = (await client.models.retrieve(target().model)) as unknown as { max_model_len: number };
    const prompt = new Array<number>(max_model_len).fill(1);
    for (const stream of [false, true]) {
      const error = await failure(client.completions.create({ ...greedy(), prompt, stream }));
      expect(error).toBeInstanceOf(OpenAI.BadRequestError);
      expect(error).toMatchObject({ code: "context_length_exceeded", param: "prompt" });
    }
  });

  it("ends a stream that the client aborts, and serves the next request", async () => {
    const client = connect();
    const stream = await client.completions.create({ ...greedy(), max_tokens: 2000, stream: true });
    let events = 0;
    for await (const _ of stream) {
      if (++events === 3) stream.controller.abort();
    }
    const { running } = target();
    if (running !== undefined) await until(() => running() === 0);
    expect((await client.completions.create(greedy())).usage!.completion_tokens).toBe(8);
  });
}

/** What a call to the client was refused with. */
export async function failure(request: PromiseLike<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  try {
    await request;
  } catch (error) {
    if (error instanceof OpenAI.APIError) return error;
    throw error;
  }
  throw new Error("the request was expected to fail");
}
