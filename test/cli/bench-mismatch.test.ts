import { createProgram } from "../../src/cli/program";
import { rmsNorm } from "../../src/ops/norm";

jest.mock("../../src/ops/norm", () => {
  const ops = jest.requireActual<typeof import("../../src/ops/norm")>("../../src/ops/norm");
  return { ...ops, rmsNorm: jest.fn(ops.rmsNorm) };
});

afterEach(() => {
  jest.restoreAllMocks();
  process.exitCode = undefined;
});

test("bench kernels: an op that differs from the CPU backend ends the run with 1, and nothing is timed", async () => {
  // The measured device is the first to launch.
  const launch = jest.mocked(rmsNorm).mockImplementationOnce(() => {});
  const stdout = jest.spyOn(process.stdout, "write").mockReturnValue(true);
  const stderr = jest.spyOn(process.stderr, "write").mockReturnValue(true);
  const line = "bench kernels --device cpu --threads 2 --runs 1 --model storyteller-6m --op rms_norm";
  await createProgram().parseAsync(line.split(" "), { from: "user" });
  expect(process.exitCode).toBe(1);
  const message = stderr.mock.calls.map(([text]) => String(text)).at(-1);
  expect(message).toMatch(
    /^error: differs from the CPU backend: rms_norm width 320, B=1: out: 320 of 320 elements differ; element 0 is NaN/,
  );
  expect(stdout).not.toHaveBeenCalled();
  expect(launch).toHaveBeenCalledTimes(2);
});
