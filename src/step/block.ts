import type { ScheduledBatch } from "../engine/policy/step-plan";
import { EngineError } from "../errors";
import type { Tensor } from "../tensor/tensor";
import { type AnyField, type FieldWriter, phases, type StepLimits } from "./field";

/** Each array starts on a 128-byte line, so that vector loads of any of them are aligned. */
const ALIGNMENT = 32;

interface PlacedArray {
  readonly name: string;
  /** Both in words. */
  readonly offset: number;
  readonly capacity: number;
}

interface PlacedField {
  readonly field: AnyField;
  readonly arrays: readonly PlacedArray[];
  readonly write: FieldWriter<string>;
  /** Words used by the step that was written last. */
  used: Readonly<Record<string, number>> | null;
}

/** All metadata of a step in one block of 32-bit words, so that one copy takes it to the device. */
export class StepBlock {
  /** Words of the whole block. */
  readonly numWords: number;
  /** int32 except where a field says otherwise. */
  readonly words: Int32Array;
  private readonly placed: readonly PlacedField[];
  private numRows = 0;

  /** `words` may be memory of the caller, at least as many as the fields take. Throws ERR_ARGUMENT if it is too small. */
  constructor(
    fields: readonly AnyField[],
    private readonly limits: StepLimits,
    words?: Int32Array,
  ) {
    const { arrays, numWords } = place(fields, limits);
    this.numWords = numWords;
    this.words = words ?? new Int32Array(numWords);
    if (this.words.length < numWords) throw tooSmall("words", numWords, this.words.length);
    this.placed = fields.map((field) => {
      const own = arrays.get(field.id)!;
      const slices = own.map(({ name, offset, capacity }) => [name, this.words.subarray(offset, offset + capacity)]);
      return { field, arrays: own, write: field.writer(Object.fromEntries(slices), limits), used: null };
    });
  }

  /** Overwrites the block with this step. Words past what it uses keep what an earlier step wrote. Throws ERR_ARGUMENT. */
  write(batch: ScheduledBatch): void {
    const { maxRows, maxTokens, maxDraws } = this.limits;
    if (batch.rows.length > maxRows) throw tooSmall("rows", batch.rows.length, maxRows);
    if (batch.numTokens > maxTokens) throw tooSmall("tokens", batch.numTokens, maxTokens);
    if (batch.numDraws > maxDraws) throw tooSmall("draws", batch.numDraws, maxDraws);
    this.numRows = batch.rows.length;
    for (const placed of this.placed) placed.used = placed.write(batch);
  }

  /** The words to upload: from the first that the step uses to its last. */
  range(): { begin: number; end: number } {
    let [begin, end] = [this.numRows === 0 ? 0 : this.numWords, 0];
    for (const { arrays, used } of this.placed) {
      if (used === null) continue;
      begin = Math.min(begin, arrays[0]!.offset);
      for (const { name, offset } of arrays) end = Math.max(end, offset + used[name]!);
    }
    return { begin: Math.min(begin, end), end };
  }

  /** The sizes that the step's launches depend on: steps of one shape run the same graph. */
  shape(): string {
    const captured = this.placed.filter(({ field }) => field.captured !== false);
    return captured.map(({ used }) => (used === null ? "-" : Object.values(used).join(","))).join(" ");
  }

  /** The step's fields as tensors over `block`, i32 [numWords] on the device. Each is sliced when it is first asked for. */
  views(block: Tensor): StepViews {
    return new StepViews(block, this.limits, (field) => this.find(field));
  }

  private find(field: AnyField): PlacedField {
    const found = this.placed.find((placed) => placed.field.id === field.id);
    if (found === undefined) {
      throw new EngineError("ERR_ARGUMENT", `the step has no field ${field.id}; a layer declares what it reads`);
    }
    return found;
  }
}

/** One step's metadata on the device; the slices die with the arena that they are made in. */
export class StepViews {
  private readonly made = new Map<string, unknown>();

  constructor(
    private readonly block: Tensor,
    private readonly limits: StepLimits,
    private readonly find: (field: AnyField) => PlacedField,
  ) {}

  /** Null where the step does not need the field. */
  get<View>(field: AnyField<View>): View | null {
    let view = this.made.get(field.id);
    if (view === undefined) {
      const { arrays, used } = this.find(field);
      const slice = ({ name, offset }: PlacedArray) => this.block.view({ shape: [used![name]!], offset });
      view =
        used === null
          ? null
          : field.view(Object.fromEntries(arrays.map((array) => [array.name, slice(array)])), this.limits);
      this.made.set(field.id, view);
    }
    return view as View | null;
  }
}

/** Places arrays phase by phase; within one the largest come last, because most steps use little of them. */
function place(
  fields: readonly AnyField[],
  limits: StepLimits,
): { arrays: ReadonlyMap<string, readonly PlacedArray[]>; numWords: number } {
  const arrays = new Map<string, PlacedArray[]>(fields.map(({ id }) => [id, []]));
  let numWords = 0;
  for (const phase of phases) {
    const members = fields
      .filter((field) => field.phase === phase)
      .flatMap((field) => Object.entries(field.arrays(limits)).map(([name, capacity]) => ({ field, name, capacity })))
      .sort((a, b) => a.capacity - b.capacity);
    for (const { field, name, capacity } of members) {
      arrays.get(field.id)!.push({ name, offset: numWords, capacity });
      numWords += Math.ceil(capacity / ALIGNMENT) * ALIGNMENT;
    }
  }
  return { arrays, numWords };
}

function tooSmall(subject: string, needed: number, capacity: number): EngineError {
  const message = `${subject}: the step needs ${needed}, the block holds ${capacity}`;
  return new EngineError("ERR_ARGUMENT", message, { subject });
}
