import { StepBlock } from "../../src/step/block";
import type { AnyField, StepLimits } from "../../src/step/field";
import { chunks } from "../../src/step/fields/chunks";
import { convBlocks } from "../../src/step/fields/conv-blocks";
import { decodeSlots } from "../../src/step/fields/decode-slots";
import { draws } from "../../src/step/fields/draws";
import { penalties } from "../../src/step/fields/penalties";
import { prefillRows } from "../../src/step/fields/prefill-rows";
import { replays } from "../../src/step/fields/replays";
import { restores } from "../../src/step/fields/restores";
import { snapshots } from "../../src/step/fields/snapshots";
import { tokenIds } from "../../src/step/fields/token-ids";
import type { Tensor } from "../../src/tensor/tensor";

/** What a step of a Mamba-2 model takes to the device, by name. */
export interface WrittenStep {
  readonly countedRows: number[];
  readonly penalties: number[];
  readonly decodeSlots: number[];
  readonly replays: number[];
  readonly lag: number[];
  readonly drawRows: number[];
  readonly sampling: number[];
  readonly inputIds: number[];
  readonly queryStartLoc: number[];
  readonly prefillSlots: number[];
  readonly hasInitialState: number[];
  readonly lastChunk: number[];
  readonly blockSeq: number[];
  readonly blockOffset: number[];
  readonly cuChunkSeqlens: number[];
  readonly chunkSeq: number[];
  readonly chunkSlots: number[];
  readonly snapshotEnds: number[];
  readonly snapshotSlots: number[];
  readonly restoredFrom: number[];
  readonly restoredTo: number[];
}

/** Which array of which field each name is. */
function sources(chunkSize: number): Readonly<Record<keyof WrittenStep, readonly [AnyField, string]>> {
  const chunked = chunks(chunkSize);
  const kept = snapshots(chunkSize);
  return {
    countedRows: [penalties, "counted"],
    penalties: [penalties, "penalties"],
    decodeSlots: [decodeSlots, "slots"],
    replays: [replays, "rows"],
    lag: [replays, "lag"],
    drawRows: [draws, "rows"],
    sampling: [draws, "sampling"],
    inputIds: [tokenIds, "ids"],
    queryStartLoc: [prefillRows, "queryStartLoc"],
    prefillSlots: [prefillRows, "slots"],
    hasInitialState: [prefillRows, "hasInitialState"],
    lastChunk: [chunked, "lastChunk"],
    blockSeq: [convBlocks, "blockSeq"],
    blockOffset: [convBlocks, "blockOffset"],
    cuChunkSeqlens: [chunked, "cuChunkSeqlens"],
    chunkSeq: [chunked, "chunkSeq"],
    chunkSlots: [chunked, "chunkSlots"],
    snapshotEnds: [kept, "snapshotEnds"],
    snapshotSlots: [kept, "snapshotSlots"],
    restoredFrom: [restores, "from"],
    restoredTo: [restores, "to"],
  };
}

/** What a field holds for the step that was written last, array by array; null where the step does not need it. */
export function writtenBy(block: StepBlock, field: AnyField): Readonly<Record<string, Int32Array>> | null {
  const onHost = {
    view: ({ shape: [length], offset }: { shape: [number]; offset: number }) =>
      block.words.subarray(offset, offset + length),
  } as unknown as Tensor;
  return block.views(onHost).get({ ...field, view: (arrays) => arrays as unknown as Record<string, Int32Array> });
}

/** Limits of steps without attention. */
export type MambaLimits = Pick<StepLimits, "maxRows" | "maxTokens" | "maxDraws">;

/** The block of a Mamba-2 model's steps. */
export class MambaBlock extends StepBlock {
  private readonly sources: ReturnType<typeof sources>;

  constructor(limits: MambaLimits, chunkSize: number, words?: Int32Array) {
    const from = sources(chunkSize);
    const fields = [...new Map(Object.values(from).map(([field]) => [field.id, field])).values()];
    super(fields, { ...limits, maxModelLen: 0, maxKvTokens: 0, rowsAlone: true }, words);
    this.sources = from;
  }

  /** One array, as far as the step uses it; it shares the block's memory. */
  array(name: keyof WrittenStep): Int32Array {
    const [field, array] = this.sources[name];
    return writtenBy(this, field)?.[array] ?? new Int32Array(0);
  }

  /** All arrays. */
  step(): WrittenStep {
    const entries = Object.keys(this.sources).map((name) => [name, [...this.array(name as keyof WrittenStep)]]);
    return Object.fromEntries(entries) as WrittenStep;
  }
}
