import { join } from "node:path";
import { readPart } from "../../src/weights/read-part";
import { engineError, makeTestDir, type TestDir } from "./files";

const bytes = Buffer.from(Array.from({ length: 40 }, (_, i) => i));
let dir: TestDir;
let file: string;
beforeAll(() => {
  dir = makeTestDir();
  dir.write("weights", bytes);
  file = join(dir.path, "weights");
});
afterAll(() => dir.remove());

test("reads bytes beside each other", () => {
  expect([...readPart({ file, offset: 7, bytes: 5 })]).toEqual([7, 8, 9, 10, 11]);
  expect(readPart({ file, offset: 40, bytes: 0 })).toHaveLength(0);
});

test("reads some bytes of each row", () => {
  const part = { file, offset: 2, bytes: 9, rows: { bytes: 3, stride: 10 } };
  expect([...readPart(part)]).toEqual([2, 3, 4, 12, 13, 14, 22, 23, 24]);
});

test.each([
  ["at its end", { offset: 38, bytes: 5 }],
  ["in its last row", { offset: 2, bytes: 15, rows: { bytes: 3, stride: 10 } }],
])("a file that is cut off %s is told", (_, part) => {
  expect(engineError("ERR_WEIGHTS", () => readPart({ file, ...part })).message).toBe(
    `${file}: the file is cut off: copy or download it again`,
  );
});
