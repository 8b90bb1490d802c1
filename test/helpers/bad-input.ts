import type { FastifyInstance } from "fastify";

/** What the request changes, the field that the answer must name, and the code where there is one. The status is 400. */
export type BadInput = readonly [change: Record<string, unknown>, param: string | null, code?: string];

/**
 * Registers one test per row: `base` with the row's change is refused, without echoing the request; afterwards
 * `base` itself still works and no prototype was touched.
 */
export function refusesEach(
  app: () => FastifyInstance,
  url: string,
  base: Record<string, unknown>,
  rows: readonly BadInput[],
): void {
  const post = (payload: object) => app().inject({ method: "POST", url, payload });
  // Cut by a replacer: stringifying 500,000 numbers for a title takes longer than the test.
  const shorten = (_: string, value: unknown) =>
    Array.isArray(value) && value.length > 9 ? `${value.length} elements` : value === undefined ? "absent" : value;
  const label = (change: Record<string, unknown>) => JSON.stringify(change, shorten).slice(0, 70);

  it.each(rows.map(([change, param, code = null]) => [label(change), change, param, code] as const))(
    "%s",
    async (_, change, param, code) => {
      const response = await post({ ...base, ...change });
      const { error } = response.json();
      expect({ status: response.statusCode, param: error.param, code: error.code }).toEqual({
        status: 400,
        param,
        code,
      });
      expect(error.type).toBe("invalid_request_error");
      expect(error.message).toEqual(expect.stringContaining(param ?? ""));
      expect(response.body.length).toBeLessThan(400);
    },
  );

  it("still answers a good request, and nothing was polluted", async () => {
    const response = await post(base);
    expect(response.statusCode).toBe(200);
    expect(response.json().choices).toHaveLength(1);
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
}
