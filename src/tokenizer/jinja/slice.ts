import { lengthOf, points, sliceText } from "./characters";
import { toIndex } from "./operators";
import { isList, Markup, Range, runtimeError, stringOf, Tuple, typeName, type Value } from "./values";

/** `sequence[start:stop:step]`; raises for what cannot be sliced, as Jinja does for slices alone. */
export function slice(sequence: Value, bounds: readonly Value[]): Value {
  const text = stringOf(sequence);
  const items =
    text !== undefined
      ? text
      : isList(sequence)
        ? sequence
        : sequence instanceof Tuple
          ? sequence.items
          : sequence instanceof Range
            ? sequence
            : undefined;
  if (items === undefined) throw runtimeError(`'${typeName(sequence)}' object cannot be sliced`);
  const [start, stop, step] = sliceBounds(bounds, typeof items === "string" ? lengthOf(items) : items.length);
  if (typeof items === "string") {
    const part = step === 1 ? sliceText(items, start, stop) : picked(points(items), start, stop, step).join("");
    return typeof sequence === "string" ? part : new Markup(part);
  }
  if (items instanceof Range) {
    const stride = items.step * BigInt(step);
    return new Range(items.at(start), items.at(stop), stride);
  }
  const part = picked(items, start, stop, step);
  return isList(sequence) ? part : new Tuple(part);
}

function picked<T>(items: ArrayLike<T>, start: number, stop: number, step: number): T[] {
  const part: T[] = [];
  for (let i = start; step > 0 ? i < stop : i > stop; i += step) part.push(items[i]!);
  return part;
}

/** Bounds within 0..length, or -1..length-1 for a negative step. */
function sliceBounds(bounds: readonly Value[], length: number): [start: number, stop: number, step: number] {
  const [start = null, stop = null, step = null] = bounds.map((bound) => (bound === null ? null : toSliceIndex(bound)));
  const stride = step ?? 1;
  if (stride === 0) throw runtimeError("slice step cannot be zero");
  const [low, high] = stride > 0 ? [0, length] : [-1, length - 1];
  const clamp = (index: number | null, otherwise: number) => {
    if (index === null) return otherwise;
    return Math.min(Math.max(index < 0 ? index + length : index, low), high);
  };
  return stride > 0 ? [clamp(start, low), clamp(stop, high), stride] : [clamp(start, high), clamp(stop, low), stride];
}

function toSliceIndex(value: Value): number {
  if (typeof value === "bigint" || typeof value === "boolean") return toIndex(value);
  throw runtimeError("slice indices must be integers or None or have an __index__ method");
}
