import fc from "fast-check";
import { FrameReader, toFrame } from "../../src/supervisor/frames";

/** The payloads of a stream that comes in pieces cut at these places. */
function read(stream: Buffer, cuts: readonly number[] = []): Buffer[] {
  const payloads: Buffer[] = [];
  const reader = new FrameReader((payload) => payloads.push(payload));
  const ends = [...cuts.map((cut) => cut % (stream.length + 1)), stream.length].sort((a, b) => a - b);
  let start = 0;
  for (const end of ends) {
    reader.push(stream.subarray(start, end));
    start = end;
  }
  return payloads;
}

const payload = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes));

it("come back whole, however the stream is cut", () => {
  fc.assert(
    fc.property(fc.array(payload), fc.array(fc.nat()), (payloads, cuts) => {
      expect(read(Buffer.concat(payloads.map(toFrame)), cuts)).toEqual(payloads);
    }),
  );
});

it("an unfinished one is not delivered", () => {
  expect(read(toFrame(Buffer.from("abc")).subarray(0, -1))).toEqual([]);
});

it("of another version, empty or far too long are refused", () => {
  const frame = toFrame(Buffer.from("abc"));
  const changed = (at: number, value: number) => Buffer.from(frame).fill(value, at, at + 1);
  const lost = (message: RegExp) =>
    expect.objectContaining({ code: "ERR_ENGINE_LOST", message: expect.stringMatching(message) });
  expect(() => read(changed(4, 2))).toThrow(lost(/version 2 instead of 1/));
  expect(() => read(changed(0, 0))).toThrow(lost(/0 bytes/));
  expect(() => read(changed(3, 0xff))).toThrow(lost(/4278190083 bytes/));
  expect(() => toFrame(Buffer.alloc(0))).toThrow(lost(/0 bytes/));
});
