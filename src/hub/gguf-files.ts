/** Parts of a file are numbered. */
const ending = /(?:-(\d{5})-of-(\d{5}))?\.gguf$/i;

/** Names of files in GGUF, less their endings; what sees images is no model. */
export function ggufNames(paths: readonly string[]): string[] {
  const names = paths
    .filter((path) => ending.test(path) && !/^mmproj/i.test(path))
    .map((path) => path.replace(ending, ""));
  return [...new Set(names)].sort();
}

/**
 * The files of the one model whose name is `tag`, or has it between hyphens or dots, as its quantization mostly is: its parts in order.
 * None where no model has it or several have, and where a part is missing.
 */
export function ggufFiles(paths: readonly string[], tag: string): string[] {
  const wanted = tag.toLowerCase();
  const names = ggufNames(paths);
  const between = (text: string) => `-${text.replaceAll(".", "-")}-`;
  const whole = names.filter((each) => each.toLowerCase() === wanted);
  const tagged = names.filter((each) => between(each.toLowerCase()).includes(between(wanted)));
  const [name, ...others] = whole.length > 0 ? whole : tagged;
  if (name === undefined || others.length > 0) return [];
  const files = paths.filter((path) => ending.test(path) && path.replace(ending, "") === name).sort();
  const [, , count = "1"] = ending.exec(files[0]!)!;
  return files.length === Number(count) ? files : [];
}
