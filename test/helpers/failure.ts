import { EngineError } from "../../src/errors";

/** The EngineError that `body` throws. */
export function failureOf(body: () => unknown): EngineError {
  try {
    body();
  } catch (error) {
    if (EngineError.is(error)) return error;
    throw error;
  }
  throw new Error("the call was accepted");
}
