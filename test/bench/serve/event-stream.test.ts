import fc from "fast-check";
import { EventStream } from "../../../src/bench/serve/event-stream";

function eventsOf(...chunks: readonly string[]): string[] {
  const events: string[] = [];
  const stream = new EventStream((data) => events.push(data));
  for (const chunk of chunks) stream.push(chunk);
  stream.end();
  return events;
}

test.each([
  ["data: a\n\ndata: b\n\n", ["a", "b"]],
  ["data:a\n\n", ["a"]],
  ["data:  a\n\n", [" a"]],
  ["data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]],
  ["data: a\r\rdata: b\r\r", ["a", "b"]],
  ["data: one\ndata: two\n\n", ["one\ntwo"]],
  [": ping\n\ndata: a\n\n: ping\n\n", ["a"]],
  ["event: x\nid: 1\nretry: 5\ndata: a\n\n", ["a"]],
  ["\n\n\n", []],
  ["data: a\n\ndata: cut", ["a", "cut"]],
  ["data:\n\n", [""]],
])("%j", (text, expected) => {
  expect(eventsOf(text)).toEqual(expected);
});

test("an event comes with the chunk that completes it", () => {
  const events: string[] = [];
  const stream = new EventStream((data) => events.push(data));
  stream.push("data: a");
  stream.push("\n");
  expect(events).toEqual([]);
  stream.push("\n");
  expect(events).toEqual(["a"]);
});

test("text may be cut anywhere", () => {
  const line = fc.oneof(fc.constantFrom("data: x", "data: {}", "data: é日本😀", ": ping", "event: e", ""), fc.string());
  const clean = line.map((text) => text.replace(/[\r\n]/g, ""));
  const lines = fc.array(fc.tuple(clean, fc.constantFrom("\n", "\r\n", "\r")), { maxLength: 12 });
  fc.assert(
    fc.property(lines, fc.array(fc.nat(200), { maxLength: 10 }), (parts, cuts) => {
      // Two endings that could be read as one are not what is tested.
      const text = parts.flat().join("").replaceAll("\r\n", "\n").replaceAll("\r", "\r\n");
      const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length];
      const chunks = places.slice(1).map((end, i) => text.slice(places[i]!, end));
      expect(eventsOf(...chunks)).toEqual(eventsOf(text));
      expect(eventsOf(...chunks)).toEqual(simple(text));
    }),
  );
});

/** The same, from the whole text at once. */
function simple(text: string): string[] {
  return `${text}\n\n`
    .replaceAll("\r\n", "\n")
    .split("\n\n")
    .map((block) => block.split("\n").filter((line) => line.startsWith("data:")))
    .filter((data) => data.length > 0)
    .map((data) => data.map((line) => line.replace(/^data: ?/, "")).join("\n"));
}
