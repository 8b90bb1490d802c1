import { bytesOfPart, columnsOfPart, equalParts, type Part, pickParts } from "../../src/weights/part";
import { engineError } from "./files";

/** Three rows of four bytes, each of which begins ten bytes after the one before. */
const rows: Part = { offset: 100, bytes: 12, rows: { bytes: 4, stride: 10 } };

test("bytes of a part are where they lie, of rows whole ones", () => {
  expect(bytesOfPart({ offset: 100, bytes: 12 }, 3, 7)).toEqual({ offset: 103, bytes: 4 });
  expect(bytesOfPart(rows, 4, 12)).toEqual({ offset: 110, bytes: 8, rows: { bytes: 4, stride: 10 } });
});

test.each([
  [1, 4],
  [4, 7],
])("bytes %d to %d are no whole rows, and refused", (begin, end) => {
  expect(engineError("ERR_SHAPE", () => bytesOfPart(rows, begin, end)).message).toContain("whole rows of its 4 bytes");
});

test("columns are bytes of each row, of rows that lie apart too", () => {
  expect(columnsOfPart({ offset: 0, bytes: 12 }, 4, [1, 3])).toEqual({
    ...{ offset: 1, bytes: 6 },
    rows: { bytes: 2, stride: 4 },
  });
  expect(columnsOfPart(rows, 4, [1, 3])).toEqual({ offset: 101, bytes: 6, rows: { bytes: 2, stride: 10 } });
});

test("ranges go over several parts, and equal ones are as few as there can be", () => {
  const parts = [
    { offset: 0, bytes: 6 },
    { offset: 50, bytes: 9 },
  ];
  expect(pickParts(parts, [[4, 8]])).toEqual([
    { offset: 4, bytes: 2 },
    { offset: 50, bytes: 2 },
  ]);
  expect(equalParts(parts).map(({ offset, bytes }) => [offset, bytes])).toEqual(
    [0, 3, 50, 53, 56].map((at) => [at, 3]),
  );
});
