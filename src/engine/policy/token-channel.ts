import type { EngineToken } from "./request";

/** One request's tokens on their way from the engine to whoever iterates. Unbounded: a request's maxTokens bounds it. */
export class TokenChannel implements AsyncIterableIterator<EngineToken> {
  private readonly queue: EngineToken[] = [];
  private waiting: { resolve: (result: IteratorResult<EngineToken>) => void; reject: (error: unknown) => void } | null =
    null;
  private ended = false;
  private error: unknown;

  /** `onAbandon` is called when the reader leaves before the end. */
  constructor(private readonly onAbandon: () => void) {}

  push(token: EngineToken): void {
    if (this.ended) return;
    if (this.waiting === null) this.queue.push(token);
    else this.take().resolve({ value: token, done: false });
  }

  /** No more tokens; with an error, the reader gets it after the tokens before it. */
  end(error?: unknown): void {
    if (this.ended) return;
    this.ended = true;
    this.error = error;
    if (this.waiting !== null) this.finish(this.take());
  }

  next(): Promise<IteratorResult<EngineToken>> {
    const token = this.queue.shift();
    if (token !== undefined) return Promise.resolve({ value: token, done: false });
    return new Promise((resolve, reject) => {
      if (this.ended) this.finish({ resolve, reject });
      else this.waiting = { resolve, reject };
    });
  }

  return(): Promise<IteratorResult<EngineToken>> {
    if (!this.ended) {
      this.end();
      this.onAbandon();
    }
    this.queue.length = 0;
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  private take() {
    const waiting = this.waiting!;
    this.waiting = null;
    return waiting;
  }

  private finish({ resolve, reject }: NonNullable<TokenChannel["waiting"]>): void {
    const { error } = this;
    this.error = undefined;
    if (error === undefined) resolve({ value: undefined, done: true });
    else reject(error);
  }
}
