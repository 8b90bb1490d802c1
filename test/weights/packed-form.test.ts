import type { CodeDtype } from "../../src/tensor/dtype";
import type { MatrixDescriptor, QuantizedDescriptor } from "../../src/weights/descriptor";
import { packedForm } from "../../src/weights/packed-form";

const shape = [64, 512];
const codes = (type: CodeDtype, group: number): QuantizedDescriptor => ({
  ...{ name: "w", codes: type, group, quantizeX: false, shape, rows: [] },
});
const floats: MatrixDescriptor = { name: "w", dtype: "f32", shape, source: { parts: [] } };
const form = (dtype: string, group = 0, isRequantized = false) => ({ dtype, group, quantizeX: false, isRequantized });

test.each([
  // as GGUF's Q6_K has them
  [codes("i8", 16), form("i8", 16), form("bf16")],
  [codes("i8", 32), form("i8", 32), form("bf16")],
  [codes("i8", 128), form("i8", 128), form("i8", 128)],
  [codes("i8", 24), form("bf16"), form("bf16")],
  [codes("i8", 512), form("i8", 512), form("i8", 512)], // a scale for each row
  [codes("e4m3", 64), form("e4m3", 64), form("bf16")],
  [codes("e4m3", 128), form("e4m3", 128), form("e4m3", 128)],
  [codes("e4m3", 16), form("bf16"), form("bf16")],
  [codes("e2m1", 16), form("e2m1", 16), form("e2m1", 16)],
  [codes("e2m1", 8), form("bf16"), form("bf16")],
  [codes("u4", 16), form("bf16"), form("bf16")],
  [codes("u4", 32), form("u4", 32), form("u4", 32)],
  [floats, form("bf16"), form("bf16")],
])("what fits a device's kernels stays codes, all else becomes activations' floats: %#", (weight, cpu, cuda) => {
  expect(packedForm(weight, "bf16", null, {}, "cpu")).toEqual(cpu);
  expect(packedForm(weight, "bf16", null, {}, "cuda")).toEqual(cuda);
});

test("codes that fit no kernel are quantized as floats are", () => {
  expect(packedForm(codes("i8", 16), "bf16", "int8", {}, "cpu")).toEqual(form("i8", 16));
  expect(packedForm(codes("i8", 16), "bf16", "int8", {}, "cuda")).toEqual(form("i8", 128, true));
  expect(packedForm(codes("i8", 24), "bf16", "int4", { role: "residual" })).toEqual(form("i8", 128, true));
  expect(packedForm(codes("i8", 24), "f32", "int4", { role: "exact" })).toEqual(form("f32"));
});
