import { resolveDtypes } from "../../src/engine/config";

test.each([
  ["float32", "f32"],
  ["bfloat16", "bf16"],
  ["float16", "f16"],
  [null, "bf16"],
] as const)("a checkpoint of %s runs in %s unless told otherwise", (torchDtype, compute) => {
  expect(resolveDtypes({}, { torchDtype })).toEqual({ compute, conv: compute, ssm: "f32" });
  expect(resolveDtypes({ dtype: "float16" }, { torchDtype })).toEqual({ compute: "f16", conv: "f16", ssm: "f32" });
});

test("the state's type is the option's, else the checkpoint's", () => {
  const model = { torchDtype: "float16", mambaSsmCacheDtype: "bfloat16" } as const;
  expect(resolveDtypes({}, model).ssm).toBe("bf16");
  expect(resolveDtypes({ stateDtype: "float16" }, model).ssm).toBe("f16");
});

test.each(["dtype", "stateDtype"])("%s of another name is refused", (option) => {
  const resolve = () => resolveDtypes({ [option]: "float64" }, { torchDtype: null });
  expect(resolve).toThrow(`${option} must be auto, float32 or bfloat16 or float16, got float64`);
});
