#!/usr/bin/env node
import { createProgram } from "./program";
import { describeError, exitCodeOf } from "./report-error";

// `mamba-serve generate | head -1` closes our stdout: that is no failure, and there is nobody left to write to.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

// Whoever read our messages is gone; what we do is not for them alone.
process.stderr.on("error", () => {});

createProgram()
  .parseAsync()
  .catch((error: unknown) => {
    process.stderr.write(describeError(error));
    process.exitCode = exitCodeOf(error);
  });
