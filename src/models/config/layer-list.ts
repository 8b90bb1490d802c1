import { z } from "zod";
import { text } from "./fields";
import type { ConfigFile } from "./json-file";

const MOST_LAYERS = 4096;

/** The list at `key`, each entry by the name that `names` has for it. ERR_CONFIG where one has none. */
export function readLayerList<K extends string>(
  file: ConfigFile,
  key: string,
  names: Readonly<Record<string, K>>,
): readonly K[] {
  const known = Object.keys(names).join(", ");
  const error = `a list of 1 to ${MOST_LAYERS} layers, each one of ${known}`;
  const kinds = z.array(text(), { error }).min(1, { error }).max(MOST_LAYERS, { error });
  const list = file.fields(z.object({ [key]: kinds }))[key]!;
  return list.map((name, i) =>
    Object.hasOwn(names, name) ? names[name]! : file.reject(`${key}.${i}`, `one of ${known}`),
  );
}
