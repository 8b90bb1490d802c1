import { EngineError } from "../../errors";
import type { GgufTensor } from "../../gguf/gguf-file";
import { elementsOf } from "../../tensor/shape";
import { type MatrixDescriptor, type WeightDescriptor, type WeightDtype, wholeMatrix } from "../descriptor";
import { fromBits } from "../float-bits";
import type { FilePart, ReadPart } from "../part";
import { pickOfRows, type Range, rangesOfPieces } from "../range";
import { type BlockType, blockTypes, type CodedRows } from "./block-types";

/** Rows [begin, end) of a tensor, whose other dimensions are one below the other. */
export interface TensorRows {
  readonly tensor: GgufTensor;
  readonly begin: number;
  readonly end: number;
}

/** A weight by the name and in the shape that a checkpoint of Hugging Face has it, made of what a GGUF file has in its place. */
export interface GgufWeight {
  readonly name: string;
  /** Names of the file's tensors. */
  readonly from: readonly string[];
  readonly shape: readonly number[];
  /** One below the other. */
  readonly rows: readonly TensorRows[];
  /** Columns of these rows, one beside the other; missing: all in their order. */
  readonly columns?: readonly Range[] | undefined;
  /** What is done to each value. */
  readonly change?: ((value: number) => number) | undefined;
}

const floats: Readonly<Record<string, WeightDtype>> = { F32: "f32", BF16: "bf16", F16: "f16" };

/** The weight for a product: codes where the kernels have such codes, else floats. Throws ERR_WEIGHTS for types that are not read. */
export function matrixOf(weight: GgufWeight): MatrixDescriptor {
  const [first] = weight.rows as [TensorRows];
  const { type } = first.tensor;
  const block = blockTypes[type.name];
  const isOneType = weight.rows.every(({ tensor }) => tensor.type === type);
  if (block === undefined || block.kept === null || !isOneType || weight.change !== undefined) return floatsOf(weight);
  const isWhole = (at: number) => at % block.group === 0;
  const hasWholeGroups = weight.columns?.every((range) => range.every(isWhole)) ?? true;
  return hasWholeGroups ? codesOf(weight, block, block.kept) : floatsOf(weight);
}

/** The weight as floats: in their file where they lie there as they are. */
export function floatsOf({ name, shape, rows, columns, change }: GgufWeight): WeightDescriptor {
  const [first] = rows as [TensorRows];
  const dtype = floats[first.tensor.type.name];
  const bytes = rows.reduce((sum, each) => sum + partOf(each).bytes, 0);
  const isOneType = rows.every(({ tensor }) => tensor.type === first.tensor.type);
  if (dtype !== undefined && isOneType && columns === undefined && change === undefined) {
    return { name, dtype, shape, source: { parts: rows.map(partOf) } };
  }
  for (const { tensor } of rows) checkType(name, tensor);
  const values = (read: ReadPart) => {
    const all = new Float32Array(elementsOf(shape));
    let at = 0;
    for (const each of rows) {
      const width = each.tensor.shape.at(-1)!;
      const floats = floatRows(read, each);
      const part = columns === undefined ? floats : pickOfRows(floats, width, columns);
      all.set(change === undefined ? part : part.map(change), at);
      at += part.length;
    }
    return all;
  };
  return { name, dtype: "f32", shape, source: { values, bytes } };
}

function checkType(name: string, { type, file }: GgufTensor): void {
  if (type.name in floats || type.name in blockTypes) return;
  const known = [...Object.keys(floats), ...Object.keys(blockTypes)].join(", ");
  const message = `${file}: tensor ${name}: expected one of ${known}, got ${type.name}; take a file of another quantization`;
  throw new EngineError("ERR_WEIGHTS", message, { subject: name });
}

function codesOf({ name, shape, rows, columns }: GgufWeight, block: BlockType, codes: "i8" | "u4"): MatrixDescriptor {
  const k = shape.at(-1)!;
  const n = elementsOf(shape) / k;
  const { group } = block;
  const bytes = rows.reduce((sum, each) => sum + partOf(each).bytes, 0);
  const sizes = rows.map(({ begin, end }) => end - begin);
  const read = (readPart: ReadPart, range: Range) => {
    const all = codedRows((range[1] - range[0]) * k, group);
    let at = 0;
    for (const { piece, begin, end } of rangesOfPieces(sizes, [range])) {
      const of = rows[piece]!;
      const each = { tensor: of.tensor, begin: of.begin + begin, end: of.begin + end };
      const part = pickCodes(decoded(readPart, each, block), each.tensor.shape.at(-1)!, group, columns);
      all.codes.set(part.codes, at);
      all.scales.set(part.scales, at / group);
      all.offsets.set(part.offsets, at / group);
      at += part.codes.length;
    }
    return {
      codes: codes === "u4" ? packed(all.codes) : new Uint8Array(all.codes.buffer),
      scales: all.scales,
      offsets: codes === "u4" ? all.offsets : new Float32Array(0),
    };
  };
  return { ...wholeMatrix({ name, codes, group, shape: [n, k], bytes, read }), shape };
}

/** Two codes in a byte, the first one in its low half. */
function packed(codes: Int8Array): Uint8Array {
  const bytes = new Uint8Array(codes.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = codes[2 * i]! | (codes[2 * i + 1]! << 4);
  return bytes;
}

function partOf({ tensor, begin, end }: TensorRows): FilePart {
  const { file, offset, type, shape } = tensor;
  const rowBytes = (shape.at(-1)! / type.elements) * type.bytes;
  return { file, offset: offset + begin * rowBytes, bytes: (end - begin) * rowBytes };
}

function floatRows(read: ReadPart, rows: TensorRows): Float32Array {
  const dtype = floats[rows.tensor.type.name];
  if (dtype !== undefined) return fromBits(read(partOf(rows)).buffer, dtype);
  const block = blockTypes[rows.tensor.type.name]!;
  const { codes, scales, offsets } = decoded(read, rows, block);
  const values = new Float32Array(codes.length);
  const { group } = block;
  for (let g = 0, i = 0; g < scales.length; g++) {
    const scale = scales[g]!;
    const offset = offsets[g]!;
    for (const end = i + group; i < end; i++) values[i] = scale * codes[i]! + offset;
  }
  return values;
}

function codedRows(elements: number, group: number): CodedRows {
  const groups = elements / group;
  return { codes: new Int8Array(elements), scales: new Float32Array(groups), offsets: new Float32Array(groups) };
}

function decoded(read: ReadPart, rows: TensorRows, block: BlockType): CodedRows {
  const { type, shape } = rows.tensor;
  const bytes = read(partOf(rows));
  const raw = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = codedRows((rows.end - rows.begin) * shape.at(-1)!, block.group);
  for (let at = 0, element = 0; at < raw.length; at += type.bytes, element += type.elements) {
    block.decode(raw, at, out, element);
  }
  return out;
}

function pickCodes(rows: CodedRows, width: number, group: number, columns?: readonly Range[]): CodedRows {
  if (columns === undefined) return rows;
  const groups = columns.map(([begin, end]): Range => [begin / group, end / group]);
  return {
    codes: pickOfRows(rows.codes, width, columns),
    scales: pickOfRows(rows.scales, width / group, groups),
    offsets: pickOfRows(rows.offsets, width / group, groups),
  };
}
