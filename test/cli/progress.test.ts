import { setTimeout as sleep } from "node:timers/promises";
import { ProgressBar } from "../../src/cli/progress";

const MiB = 2 ** 20;
const clear = "\r\x1b[K";

function screen(isTTY: boolean, columns = 100) {
  const written: string[] = [];
  return { isTTY, columns, written, write: (text: string) => written.push(text) };
}

test("one line on a terminal, cleared at the end", async () => {
  const stream = screen(true);
  const bar = new ProgressBar("loading x", stream);
  bar.update(MiB, 4 * MiB);
  expect(stream.written).toEqual([]); // too early to show anything
  await sleep(200);
  bar.update(2 * MiB, 4 * MiB);
  bar.update(3 * MiB, 4 * MiB); // too soon after the last
  bar.end();
  expect(stream.written).toHaveLength(2);
  const [line = ""] = stream.written;
  expect(line.startsWith(`${clear}loading x  [############............]  50 %  2.0 MiB of 4.0 MiB  `)).toBe(true);
  expect(line).toMatch(/ \d+\.\d MiB\/s$/);
  expect(stream.written[1]).toBe(clear);
});

test("a narrow terminal cuts it; an unknown total has no bar", async () => {
  const stream = screen(true, 20);
  const bar = new ProgressBar("loading", stream);
  await sleep(200);
  bar.update(5 * MiB, 0);
  expect(stream.written).toEqual([expect.stringContaining(`${clear}loading  5.0 MiB`)]);
  expect(stream.written[0]!.length).toBeLessThan(20 + clear.length);
});

test("nothing when piped", async () => {
  const stream = screen(false);
  const bar = new ProgressBar("loading", stream);
  await sleep(200);
  bar.update(MiB, 2 * MiB);
  bar.end();
  expect(stream.written).toEqual([]);
});
