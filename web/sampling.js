/**
 * The fields that are filled in, under the API's names.
 * @param {HTMLFormElement} form
 * @returns {Record<string, number | string[]>}
 */
export function samplingFields(form) {
  /** @type {Record<string, number | string[]>} */
  const fields = {};
  for (const [name, value] of new FormData(form)) {
    if (value === "") continue;
    if (name === "stop") fields.stop = stopStrings(String(value));
    else fields[name] = Number(value);
  }
  return fields;
}

/**
 * One a line; \n, \t and \\ stand for the characters that a line cannot hold.
 * @param {string} text
 */
export function stopStrings(text) {
  const characters = /** @type {Record<string, string>} */ ({ n: "\n", t: "\t", "\\": "\\" });
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replace(/\\([nt\\])/g, (_, letter) => characters[letter] ?? ""));
}
