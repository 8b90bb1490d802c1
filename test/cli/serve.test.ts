import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { outcomeOf, run, start } from "./run";

/** A running `serve` on a free port. */
async function serving(...args: string[]) {
  const child = start(["serve", "--port", "0", "--max-num-seqs", "2", ...args]);
  const outcome = outcomeOf(child);
  let printed = "";
  child.stdout.on("data", (data) => {
    printed += data;
  });
  const ended = outcome.then(({ stderr }) => {
    throw new Error(`it ended: ${stderr}`);
  });
  ended.catch(() => {}); // it ends in every test, and after it has served that is no failure
  while (!printed.includes("-d '")) await Promise.race([once(child.stdout, "data"), ended]);
  const url = /^Listening on (http:\S+)$/m.exec(printed)?.[1] ?? "";
  return { child, outcome, printed, url };
}

test("prints its URL and a request that works, and stops on SIGTERM", async () => {
  const { child, outcome, printed, url } = await serving("--model-name", "tales/one");
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
  expect((await fetch(`${url}/health`)).status).toBe(200);

  const target = /curl (\S+)/.exec(printed)?.[1] ?? "";
  const body = /-d '(.*)'\n/.exec(printed)?.[1]?.replaceAll("'\\''", "'") ?? "";
  const request = { ...JSON.parse(body), max_tokens: 5 };
  expect(request.model).toBe("tales/one");
  const answer = await fetch(target, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
  });
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ model: "tales/one", usage: { completion_tokens: 5 } });

  const start = performance.now();
  child.kill("SIGTERM");
  expect((await outcome).code).toBe(0);
  expect(performance.now() - start).toBeLessThan(10_000);
  expect((await outcome).stderr).toMatch(/^SIGTERM: closing once running requests are done; .*\n$/);
});

test("a model with fewer positions than the default length needs no flag", async () => {
  const model = join(__dirname, "..", "golden", "granitemoehybrid");
  const { child, outcome, printed } = await serving(model, "--load-format", "dummy");
  expect(printed).toContain("of up to 2,048 tokens");
  child.kill("SIGTERM");
  expect((await outcome).code).toBe(0);
});

test("a name that would break a URL or a shell is refused", async () => {
  const { code, stderr } = await run(["serve", "--model-name", "it's"]);
  expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining("--model-name") });
});

test("a second signal stops it in the middle of a request", async () => {
  const { child, outcome, url } = await serving();
  const answer = await fetch(`${url}/v1/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "storyteller-6m", prompt: "x", max_tokens: 100_000, ignore_eos: true, stream: true }),
  });
  const cut = answer.text().catch(() => "cut");
  child.kill("SIGINT");
  await once(child.stderr, "data");
  child.kill("SIGINT"); // at once: taken for the same signal passed on, so nothing happens
  setTimeout(() => child.kill("SIGINT"), 200);
  expect((await outcome).code).toBe(130);
  expect(await cut).toBe("cut");
});

test("a port in use: a clear error, exit code 1", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as { port: number };
  const { code, stdout, stderr } = await run(["serve", "--port", String(port)]);
  other.close();
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toMatch(new RegExp(`^error: cannot listen: port ${port} .* is in use; .* \\(ERR_IO\\)\n$`));
});
