/** Clients that send random requests, leave at random moments and check every answer. */
import { Agent } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Rng } from "../helpers/rng";
import { type Answer, difference, differenceOfPart, readStream, readWhole } from "./answer";
import { type BadRequest, badRequests } from "./bad-requests";
import { type Answered, exchange, exchangeRaw, type Leaving } from "./exchange";
import { type PoolRequest, pick, randomRequest, unseededRequest } from "./requests";
import type { Servers } from "./servers";
import type { Tally } from "./tally";

const ABORTED = 0.05;
const BAD = 0.01;
const UNSEEDED = 0.05;

/** What the API takes and this model's engine does not do yet. */
const notYet = /is not supported yet/;

interface PoolEntry {
  readonly request: PoolRequest;
  /** What it gives alone. */
  readonly answer: Answer;
  /** How long that took, in milliseconds. */
  readonly duration: number;
}

export class Traffic {
  private agent = new Agent({ keepAlive: true });
  private readonly bad: readonly BadRequest[];
  private pool: readonly PoolEntry[] = [];

  constructor(
    private readonly servers: Servers,
    private readonly rng: Rng,
    private readonly tally: Tally,
  ) {
    this.bad = badRequests(servers.model);
  }

  /** Sends as many distinct requests one by one; what they give is what they have to give in any company. */
  async learn(count: number, onProgress: (done: number) => void): Promise<void> {
    const pool: PoolEntry[] = [];
    while (pool.length < count) {
      const request = randomRequest(this.rng, this.servers.model.vocabSize);
      const start = performance.now();
      const { status, text } = await this.send(request, request.body);
      if (status === 400 && notYet.test(text)) {
        this.tally.counts.leftOut += 1;
        continue;
      }
      if (status !== 200) throw new Error(`status ${status} for ${JSON.stringify(request)}: ${text}`);
      pool.push({ request, answer: readWhole(request.path, text), duration: performance.now() - start });
      onProgress(pool.length);
    }
    this.pool = pool;
  }

  /** Every bad request once. */
  async misbehave(): Promise<void> {
    for (const bad of this.bad) await this.sendBad(bad);
  }

  /** So many clients until `isOver` says so, then until their last answers have come. */
  async run(clients: number, isOver: () => boolean): Promise<void> {
    const client = async () => {
      while (!isOver()) {
        await this.sendOne();
        if (this.rng.next() < 0.2) await sleep(this.rng.integer(1, 30));
      }
    };
    await Promise.all(Array.from({ length: clients }, client));
  }

  /** Closes connections that are kept alive. */
  hangUp(): void {
    this.agent.destroy();
    this.agent = new Agent({ keepAlive: true });
  }

  /** Starts so many endless generations and leaves them all at once when `running()` counts them; resolves at that moment. */
  async leaveAtOnce(count: number, running: () => Promise<number>): Promise<void> {
    const agent = new Agent();
    const body = { prompt: "Once upon a time", max_tokens: 4000, ignore_eos: true };
    const outcomes = Array.from({ length: count }, (_, i) => {
      const request = { path: "/v1/completions", body: JSON.stringify({ ...body, stream: i % 2 === 0 }) };
      return exchange(this.servers.url, request, { agent }).then(
        () => "complete",
        () => "left",
      );
    });
    while ((await running()) < count) await sleep(2);
    agent.destroy();
    const complete = (await Promise.all(outcomes)).filter((outcome) => outcome === "complete");
    if (complete.length > 0) this.tally.fail(`${complete.length} of ${count} endless generations ended`);
    this.tally.counts.leftAtOnce += count;
  }

  private async sendOne(): Promise<void> {
    const { rng } = this;
    const chance = rng.next();
    if (chance < BAD) await this.sendBad(pick(rng, this.bad));
    else if (chance < BAD + ABORTED) await this.sendAndLeave(pick(rng, this.pool));
    else if (chance < BAD + ABORTED + UNSEEDED) await this.sendUnseeded();
    else await this.sendAndCompare(pick(rng, this.pool));
  }

  private async sendAndCompare({ request, answer }: PoolEntry): Promise<void> {
    await this.attempt(request, async (body, stream) => {
      const actual = await this.receive(request, body, stream);
      const wrong = difference(actual, answer);
      if (wrong !== null) throw new Error(wrong);
      this.tally.counts.compared += 1;
      this.tally.counts.completionTokens += actual.completionTokens;
      this.tally.counts.promptTokens += actual.promptTokens;
    });
  }

  private async sendUnseeded(): Promise<void> {
    const request = unseededRequest(this.rng);
    await this.attempt(request, async (body, stream) => {
      const { completionTokens } = await this.receive(request, body, stream);
      if (completionTokens !== request.completionTokens) throw new Error(`${completionTokens} tokens`);
      this.tally.counts.unseeded += 1;
    });
  }

  private async sendAndLeave({ request, answer, duration }: PoolEntry): Promise<void> {
    await this.attempt(request, async (body, stream) => {
      // Some leave before anything has happened, some after the end.
      const leaving: Leaving = this.rng.next() < 0.1 ? "while-sending" : this.rng.next() ** 2 * (20 + 4 * duration);
      const { status, text, left } = await this.send(request, body, leaving);
      if (status !== null && status !== 200) throw new Error(`status ${status}: ${text}`);
      if (left) this.tally.counts.aborted += 1;
      if (!stream || text === "") return;
      const part = readStream(request.path, text, request.numChoices, { cut: true });
      const wrong = differenceOfPart(part, answer);
      if (wrong !== null) throw new Error(`${wrong} (before the client left)`);
    });
  }

  private async sendBad({ name, status, code, request }: BadRequest): Promise<void> {
    this.tally.counts.requests += 1;
    try {
      const { url } = this.servers;
      const answered = await (typeof request === "string" ? exchangeRaw(url, request) : exchange(url, request, {}));
      const { error } = JSON.parse(answered.text) as { error: Record<string, unknown> };
      const shape = ["message", "type", "param", "code"].every((key) => error[key] !== undefined);
      const expected = answered.status === status && shape && (code === undefined || error.code === code);
      if (!expected) throw new Error(`status ${answered.status}, ${answered.text.slice(0, 300)}`);
      this.tally.counts.refused += 1;
    } catch (error) {
      this.tally.fail(`bad request "${name}", to be refused with ${status}: ${(error as Error).message}`);
    }
  }

  private async attempt(request: PoolRequest, run: (body: object, stream: boolean) => Promise<void>): Promise<void> {
    const stream = request.streams && this.rng.next() < 0.55;
    const asStream =
      request.path === "/v1/responses" ? { stream } : { stream, stream_options: { include_usage: true } };
    const body = stream ? { ...request.body, ...asStream } : request.body;
    this.tally.counts.requests += 1;
    if (stream) this.tally.counts.streamed += 1;
    try {
      await run(body, stream);
    } catch (error) {
      this.tally.fail((error as Error).message, { path: request.path, body });
    }
  }

  private async receive(request: PoolRequest, body: object, stream: boolean): Promise<Answer> {
    const { status, text } = await this.send(request, body);
    if (status !== 200) throw new Error(`status ${status}: ${text}`);
    return stream ? readStream(request.path, text, request.numChoices) : readWhole(request.path, text);
  }

  private send({ path }: PoolRequest, body: object, leaving: Leaving = null): Promise<Answered> {
    return exchange(this.servers.url, { path, body: JSON.stringify(body) }, { agent: this.agent, leaving });
  }
}
