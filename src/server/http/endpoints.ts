import type { FastifyInstance, HTTPMethods } from "fastify";
import { HttpError } from "./http-error";

/** The routes registered on an app after this was made. */
export class Endpoints {
  readonly #app: FastifyInstance;
  readonly #methods = new Map<string, Set<string>>();
  #complete = false;

  constructor(app: FastifyInstance) {
    this.#app = app;
    app.addHook("onRoute", ({ url, method }) => {
      if (this.#complete) return;
      const known = this.#methods.get(url) ?? new Set();
      for (const name of [method].flat()) known.add(name);
      this.#methods.set(url, known);
    });
  }

  /** As "POST /v1/completions". */
  list(): string[] {
    return [...this.#methods].map(
      ([url, methods]) => `${[...methods].filter((name) => name !== "HEAD").join(", ")} ${url}`,
    );
  }

  /** Call after the last route: other methods of a known URL get 405 and are told which there are; Fastify says 404. */
  refuseOtherMethods(): void {
    this.#complete = true;
    for (const [url, known] of this.#methods) {
      const allow = [...known].sort().join(", ");
      const refuse = async () => {
        throw new HttpError(405, `this endpoint takes ${allow}`, { headers: { allow } });
      };
      const others = this.#app.supportedMethods.filter((name) => !known.has(name)) as HTTPMethods[];
      this.#app.route({ method: others, url, schema: { hide: true }, onRequest: refuse, handler: refuse });
    }
  }
}
