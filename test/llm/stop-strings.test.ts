import { StopStrings } from "../../src/llm/stop-strings";

function give(stops: readonly string[], pieces: readonly string[], isIncluded = false) {
  const watch = new StopStrings(stops, isIncluded);
  let text = "";
  for (const piece of pieces) {
    const found = watch.push(piece);
    text += found.text;
    if (found.stopped) return { text, stopped: true };
  }
  return { text: text + watch.flush(), stopped: false };
}

test.each([
  [["END"], ["a E", "N", "D b"], "a ", "a END"],
  [["</s>", "<"], ["a </s>"], "a ", "a <"],
  [["abc", "bc", "b"], ["xabcd"], "x", "xabc"],
  [["abc", "ab"], ["xabcd"], "x", "xab"],
])("%j in %j", (stops, pieces, without, included) => {
  expect(give(stops, pieces)).toEqual({ text: without, stopped: true });
  expect(give(stops, pieces, true)).toEqual({ text: included, stopped: true });
});

test("a text that only begins like a stop string is given out", () => {
  expect(give(["END"], ["a EN", "x EN"])).toEqual({ text: "a ENx EN", stopped: false });
});
