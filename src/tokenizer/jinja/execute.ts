import type { Frame, Scope } from "./frame";
import type { Statement } from "./nodes";

/** Texts in their order. */
export type Output = string[];

/** How a statement ended, where not by its end. */
export type Signal = "break" | "continue" | undefined;

export type Execute = (frame: Frame, output: Output) => Signal;

/** What compiles the statements within a statement. */
export type CompileBody = (statements: readonly Statement[], scope: Scope) => Execute;
