import { merge } from "../../../src/server/openai/merge";

/** A source that a test feeds; it ends when it is stopped. */
class Source implements AsyncIterable<string> {
  /** Items that were asked for. */
  asked = 0;
  private readonly items: string[];
  private wake = () => {};
  private isStopped = false;

  constructor(...items: string[]) {
    this.items = items;
  }

  stop(): void {
    this.isStopped = true;
    this.wake();
  }

  async *[Symbol.asyncIterator]() {
    for (;;) {
      this.asked += 1;
      const item = this.items.shift();
      if (item === "fails") throw new Error("failed");
      if (item !== undefined) yield item;
      else if (this.isStopped) return;
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}

async function* listed(...items: string[]) {
  yield* items;
}

const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

test("gives all items, those of one source in their order, and stops nothing that has ended", async () => {
  const stop = jest.fn();
  const all: string[] = [];
  for await (const item of merge([listed("a1", "a2", "a3"), listed(), listed("b1", "b2")], stop)) all.push(item);
  expect(all.filter((item) => item.startsWith("a"))).toEqual(["a1", "a2", "a3"]);
  expect(all.toSorted()).toEqual(["a1", "a2", "a3", "b1", "b2"]);
  expect(stop).not.toHaveBeenCalled();
});

test("a source is asked for its next item when the last one was taken, not before", async () => {
  const source = new Source("1", "2", "3");
  const items = merge([source], () => source.stop());
  await items.next();
  await turns(3);
  expect(source.asked).toBe(1);
  await items.next();
  await turns(3);
  expect(source.asked).toBe(2);
  await items.return(undefined);
});

test("the first failure is thrown, and sources that still run are stopped", async () => {
  const other = new Source("1");
  const all: string[] = [];
  const read = async () => {
    for await (const item of merge([other, new Source("2", "fails")], () => other.stop())) all.push(item);
  };
  await expect(read()).rejects.toThrow("failed");
  expect(all.toSorted()).toEqual(["1", "2"]);
  await turns(3);
  expect(other.asked).toBe(3); // its item, then nothing, and after the stop its end
});

test("a reader that leaves stops the sources", async () => {
  const sources = [new Source("1"), new Source("2")];
  const stop = jest.fn(() => {
    for (const source of sources) source.stop();
  });
  for await (const _ of merge(sources, stop)) break;
  expect(stop).toHaveBeenCalledTimes(1);
});
