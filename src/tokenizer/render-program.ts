/** What the process that renders chat templates runs. */
import { Template } from "./jinja/template";
import type { SandboxProgram } from "./sandbox/child";

export interface RenderData {
  /** Jinja source. */
  readonly source: string;
  readonly maxOutputChars: number;
}

/** The JSON text of the template's variables; null only compiles. */
export type RenderJob = string | null;

export const start: SandboxProgram<RenderData, RenderJob, string> = ({ source, maxOutputChars }) => {
  let template: Template | undefined;
  return (variables) => {
    template ??= new Template(source);
    if (variables === null) return "";
    const text = template.render(variables);
    if (text.length > maxOutputChars) throw new Error(`the text is longer than ${maxOutputChars} characters`);
    return text;
  };
};
