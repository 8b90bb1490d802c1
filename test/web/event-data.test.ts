import { eventData } from "../../web/event-data.js";

async function read(pieces: readonly string[]): Promise<string[]> {
  async function* stream() {
    yield* pieces;
  }
  const all: string[] = [];
  for await (const data of eventData(stream())) all.push(data);
  return all;
}

const stream = ': ping\n\ndata: {"a":1}\n\nevent: x\r\ndata:two\r\ndata:  lines\r\n\r\ndata: [DONE]\n\ndata: cut off\n';
const events = ['{"a":1}', "two\n lines", "[DONE]"];

it("gives the data of whole events, without comments and other fields", async () => {
  expect(await read([stream])).toEqual(events);
  expect(await read([])).toEqual([]);
});

it("does not mind where the text is cut", async () => {
  expect(await read([...stream])).toEqual(events);
  for (let i = 1; i < stream.length; i++) expect(await read([stream.slice(0, i), stream.slice(i)])).toEqual(events);
});
