/** What a parser finds in a model's output, in order. */
export type ToolEvent =
  | { readonly kind: "text"; readonly text: string }
  /** A call begins; the arguments that follow are its own. */
  | { readonly kind: "call"; readonly name: string }
  /** More of the arguments' JSON text. */
  | { readonly kind: "arguments"; readonly text: string };

/**
 * Takes a model's output in pieces. How it is cut does not matter: texts and arguments joined, the events are the same. Each
 * character is looked at a bounded number of times.
 */
export interface ToolParser {
  push(text: string): ToolEvent[];
  /** The output is complete. */
  end(): ToolEvent[];
}
