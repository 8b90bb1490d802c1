import type { Frame, Scope } from "./frame";
import type { Target } from "./nodes";
import { iterate } from "./operators";
import { Namespace, runtimeError, type Value } from "./values";

export type Assign = (frame: Frame, value: Value) => undefined;

export function compileTarget(target: Target, scope: Scope): Assign {
  switch (target.kind) {
    case "name": {
      const { slot } = scope.symbols.find(target.name)!;
      return (frame, value) => {
        frame.values[slot] = value;
        return undefined;
      };
    }
    case "tuple": {
      const items = target.items.map((item) => compileTarget(item, scope));
      return (frame, value) => {
        const values = [...iterate(value)];
        if (values.length !== items.length) {
          const few = values.length < items.length;
          throw runtimeError(`${few ? "not enough" : "too many"} values to unpack (expected ${items.length})`);
        }
        for (const [index, assign] of items.entries()) assign(frame, values[index]!);
        return undefined;
      };
    }
    case "namespace": {
      const { hops, slot } = scope.symbols.find(target.name)!;
      const { attribute } = target;
      return (frame, value) => {
        const namespace = frame.outer(hops).values[slot];
        if (!(namespace instanceof Namespace)) throw runtimeError("cannot assign attribute on non-namespace object");
        namespace.attributes.set(attribute, value);
        return undefined;
      };
    }
  }
}
