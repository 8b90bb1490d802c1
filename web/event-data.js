/**
 * The data of server-sent events, as text that was cut anywhere. Fields other than `data` and comments are left out, as is an
 * event that the end of the stream cut off.
 * @param {AsyncIterable<string>} pieces
 * @returns {AsyncGenerator<string>}
 */
export async function* eventData(pieces) {
  let rest = "";
  for await (const piece of pieces) {
    rest += piece;
    const events = rest.split(/\r?\n\r?\n/);
    rest = events.pop() ?? "";
    for (const event of events) {
      const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"));
      if (lines.length > 0) yield lines.map((line) => line.replace(/^data: ?/, "")).join("\n");
    }
  }
}
