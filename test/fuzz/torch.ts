import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Checkpoint } from "../../src/weights/checkpoint";
import { readZip } from "../../src/weights/zip";
import { dictOf, tensor, text, torchFile } from "../weights/torch-archive";
import type { Target } from "./fuzz";

const FILE = "pytorch_model.bin";
const PICKLE = "data.pkl";
const golden = readFileSync(join(__dirname, "..", "golden", "torch", "mixed.bin"));

/** The elements that the golden's pickle asks for. */
const elements = Array.from({ length: 20 }, (_, i) => ({ name: `a/data/${i}`, content: Buffer.alloc(48) }));

function pickleOf(archive: Buffer): Buffer {
  const fail = (message: string): never => {
    throw new Error(message);
  };
  const files = readZip(archive.length, (offset, length) => archive.subarray(offset, offset + length), fail);
  const [, { offset, bytes }] = [...files].find(([name]) => name.endsWith("/data.pkl"))!;
  return archive.subarray(offset, offset + bytes);
}

/** The archive, and a pickle that is put into one: with bytes more or less, every other part of an archive is elsewhere. */
export const torchTarget: Target = {
  name: "torch",
  codes: ["ERR_WEIGHTS"],
  seeds: () => {
    const small = torchFile(dictOf(text("a"), tensor(), text("b"), tensor({ shape: [2], strides: [1], offset: 3 })));
    return [new Map([[FILE, golden]]), new Map([[FILE, small]]), new Map([[PICKLE, pickleOf(golden)]])];
  },
  run: async (dir, input) => {
    const pickle = input.get(PICKLE);
    if (pickle !== undefined) writeFileSync(join(dir, FILE), torchFile(pickle, elements));
    const checkpoint = Checkpoint.open(dir);
    for (const name of checkpoint.names()) {
      const { file, offset, bytes } = checkpoint.entry(name);
      const isInside = offset >= 0 && bytes >= 0 && offset + bytes <= checkpoint.files.get(file)!.bytes;
      if (!isInside) throw new Error(`tensor ${name} lies outside its file`);
    }
    return `${checkpoint.names().map((name) => `${checkpoint.entry(name).dtype}${checkpoint.entry(name).shape.length}`)}`;
  },
};
