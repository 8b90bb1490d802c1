import { stringifyJson } from "../json/stringify";
import { isObject } from "../json/value";
import { badSchema, type Located } from "./schema-keywords";

/** What `$ref` of a schema may point to. */
export class References {
  /** Schemas by their $id or $anchor as it is written; found when the first reference asks for one. */
  private named: ReadonlyMap<string, unknown> | undefined;

  constructor(private readonly root: unknown) {}

  /** @throws EngineError ERR_REQUEST for a reference that points elsewhere or to nothing. */
  resolve(reference: unknown, path: string): Located {
    if (typeof reference !== "string") throw this.elsewhere(reference, path);
    const [base, fragment = ""] = reference.split("#", 2) as [string, string?];
    let schema: unknown = base === "" ? this.root : this.names.get(base);
    if (schema !== undefined && fragment !== "" && !fragment.startsWith("/")) {
      schema = this.names.get(`#${fragment}`) ?? this.names.get(fragment);
    } else if (schema !== undefined) {
      for (const part of fragment.split("/").slice(1)) schema = memberOf(schema, part);
      if (schema === undefined) throw badSchema(path, `$ref ${JSON.stringify(reference)} points to nothing`);
    }
    if (schema === undefined) throw this.elsewhere(reference, path);
    return { schema, path: reference };
  }

  private elsewhere(reference: unknown, path: string) {
    const got = stringifyJson(reference);
    return badSchema(path, `$ref must point into this schema, as "#/$defs/name" does; got ${got}`);
  }

  private get names(): ReadonlyMap<string, unknown> {
    if (this.named === undefined) {
      const found = new Map<string, unknown>();
      const pending = [this.root];
      for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
        if (Array.isArray(value)) pending.push(...value);
        if (!isObject(value)) continue;
        for (const keyword of ["$id", "id", "$anchor"]) {
          const name = value[keyword];
          if (typeof name === "string") found.set(name.replace(/#$/, ""), value);
        }
        pending.push(...Object.values(value));
      }
      this.named = found;
    }
    return this.named;
  }
}

/** The member of an object or a list that a part of a JSON pointer names. */
function memberOf(owner: unknown, part: string): unknown {
  const name = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
  if (typeof owner !== "object" || owner === null || !Object.hasOwn(owner, name)) return undefined;
  return (owner as Record<string, unknown>)[name];
}

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
