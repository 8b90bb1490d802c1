import fc from "fast-check";
import { PageList } from "../../../src/engine/policy/page-list";

test("is the list that was pushed, and -1 after it", () => {
  fc.assert(
    fc.property(fc.array(fc.option(fc.nat(1_000_000), { freq: 20, nil: "clear" as const })), (actions) => {
      const list = new PageList();
      let expected: number[] = [];
      for (const action of actions) {
        if (action === "clear") {
          list.clear();
          expected = [];
        } else {
          list.push(action);
          expected.push(action);
        }
        expect([list.slice(), list.length]).toEqual([expected, expected.length]);
        expect([...list.words]).toEqual([...expected, ...new Array(list.words.length - expected.length).fill(-1)]);
        expect(list.at(expected.length)).toBe(-1);
        expect(Number.isInteger(Math.log2(list.words.length))).toBe(true);
      }
      expect([list.slice(1), list.slice(1, 3)]).toEqual([expected.slice(1), expected.slice(1, 3)]);
    }),
  );
});
