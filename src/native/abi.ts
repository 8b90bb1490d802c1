import type { OpFunctions } from "./op-abi";

declare const kind: unique symbol;

/** What stands for a native object: a number that one kind of argument takes. 0 is none. */
type Handle<Kind extends string> = number & { readonly [kind]: Kind };
export type DeviceHandle = Handle<"device">;
export type TensorHandle = Handle<"tensor">;
export type ArenaHandle = Handle<"arena">;
export type GraphHandle = Handle<"graph">;
export type FileHandle = Handle<"file">;
type Sizes = [d0: number, d1: number, d2: number, d3: number];

/** The addon's functions. Handles and numbers in, numbers and promises out; typed arrays are made here and filled there. */
export interface Addon extends OpFunctions {
  readonly errorCodes: readonly string[];
  /** The rows of native/ops/ops.def that it was built from. */
  readonly opRows: string;
  /** What makes the errors that the functions throw and the promises reject with. */
  setErrorFactory(make: (code: string, message: string, subject: string) => Error): void;
  liveHandles(): number;

  /** `deterministic`: the stream's ops give a row the same bits whatever they are launched with. */
  openDevice(kind: string, threads: number, deterministic: boolean, index: number): DeviceHandle;
  closeDevice(device: DeviceHandle): void;
  /** Devices of one kind compute together from now on, each with its place as its rank. */
  joinGroup(devices: Int32Array): void;
  /** Collective ops of the device's group fail from now on. */
  failGroup(device: DeviceHandle): void;
  describeDevice(device: DeviceHandle): string;
  /** Bytes free and in all. */
  deviceMemory(device: DeviceHandle, out: Float64Array): void;
  done(device: DeviceHandle): Promise<void>;

  createTensor(device: DeviceHandle, dtype: number, rank: number, ...sizes: Sizes): TensorHandle;
  /** Pinned host memory: no op takes it. */
  createPinnedTensor(device: DeviceHandle, dtype: number, rank: number, ...sizes: Sizes): TensorHandle;
  freeTensor(tensor: TensorHandle): void;
  viewTensor(
    tensor: TensorHandle,
    offset: number,
    rank: number,
    ...sizesThenStrides: [...Sizes, ...Sizes]
  ): TensorHandle;

  createArena(device: DeviceHandle, bytes: number): ArenaHandle;
  freeArena(arena: ArenaHandle): void;
  arenaTensor(arena: ArenaHandle, dtype: number, rank: number, ...sizes: Sizes): TensorHandle;
  openArenaScope(arena: ArenaHandle): void;
  closeArenaScope(arena: ArenaHandle): void;
  arenaHighWater(arena: ArenaHandle): number;

  /** `at` is the first element, or -1 where the data is all of the tensor. */
  upload(device: DeviceHandle, tensor: TensorHandle, data: ArrayBufferView, at: number): void;
  download(device: DeviceHandle, tensor: TensorHandle, data: ArrayBufferView, at: number): Promise<void>;
  copy(device: DeviceHandle, target: TensorHandle, source: TensorHandle): void;
  fill(device: DeviceHandle, tensor: TensorHandle, byte: number): void;

  /** Transfers from now on run after all that was launched so far. */
  orderTransfers(device: DeviceHandle): void;
  /** Copies a row (of the first dimension) of one contiguous tensor to another's, beside what is launched. */
  transferRow(device: DeviceHandle, target: TensorHandle, row: number, source: TensorHandle, sourceRow: number): void;
  /** Settles when all transfers so far are done. */
  transferred(device: DeviceHandle): Promise<void>;

  beginCapture(device: DeviceHandle): void;
  endCapture(device: DeviceHandle): GraphHandle;
  replay(device: DeviceHandle, graph: GraphHandle): void;
  /** Microseconds of as many replays as `out` is long, each after all of `scratch` (or nothing: 0) was written. */
  timeReplays(device: DeviceHandle, graph: GraphHandle, scratch: TensorHandle | 0, out: Float64Array): Promise<void>;
  /** Marks a point in the stream. */
  mark(device: DeviceHandle): void;
  /** Microseconds from the first mark to each; `out` is as long as there are marks. They are forgotten then. */
  readMarks(device: DeviceHandle, out: Float64Array): Promise<void>;
  freeGraph(graph: GraphHandle): void;
  graphNodes(graph: GraphHandle): number;

  openFile(path: string): FileHandle;
  closeFile(file: FileHandle): void;
  uploadFile(device: DeviceHandle, tensor: TensorHandle, file: FileHandle, offset: number): void;
  /**
   * `source` is the matrix in a typed array or, with places, the files of as many equal parts: a place is an offset in bytes, and the
   * bytes from one row's beginning to the next one's (0: a row's own). Of codes: `group` share a
   * scale, and `quantizeX` says whether x may be rounded to codes; where the source has them, its `scales` f32 [n, groups], and `offsets` of u4, else empty.
   */
  packLinearWeight(
    device: DeviceHandle,
    dtype: number,
    group: number,
    quantizeX: boolean,
    n: number,
    k: number,
    sourceDtype: number,
    source: ArrayBufferView,
    places: Float64Array,
    scales: Float32Array,
    offsets: Float32Array,
  ): TensorHandle;
  /** The same of matrices [experts, n, k]. */
  packExpertWeights(
    device: DeviceHandle,
    dtype: number,
    group: number,
    quantizeX: boolean,
    experts: number,
    n: number,
    k: number,
    sourceDtype: number,
    source: ArrayBufferView,
    places: Float64Array,
    scales: Float32Array,
    offsets: Float32Array,
  ): TensorHandle;
}
