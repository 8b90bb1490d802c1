import type { Command } from "commander";
import type { EngineOptions } from "../engine/policy/config";
import { ChatLoop } from "./chat-loop";
import { ChatSession } from "./chat-session";
import { addEngineFlags, addModelArgument, refuseDummy } from "./engine-flags";
import { addSamplingFlags, type SamplingFlags, samplingOf } from "./sampling-flags";
import { withModel } from "./with-model";

interface Flags extends EngineOptions, SamplingFlags {
  readonly system?: string;
}

export function defineChat(command: Command): void {
  command.option("-s, --system <text>", "system prompt").addHelpText(
    "after",
    `
Each line of stdin is a message when it is piped.

Example:
  mamba-serve chat
  echo "Tell me a story about the king." | mamba-serve chat --temperature 0`,
  );
  addModelArgument(command);
  addSamplingFlags(command, { maxTokens: 1024 });
  addEngineFlags(command, { maxNumSeqs: 1 });
  command.action(async (model: string, flags: Flags) => {
    refuseDummy(command, flags);
    await withModel(model, flags, async (llm) => {
      // Says at once, instead of after the first question, that a model cannot chat.
      await llm.renderChat([{ role: "user", content: "Hello" }]);
      const interactive = process.stdin.isTTY === true && process.stdout.isTTY === true;
      if (interactive) process.stdout.write(`${llm.info.id} on ${llm.info.device}. /help lists the commands.\n\n`);
      const { stdin: input, stdout: output, stderr: notices } = process;
      const loop = new ChatLoop(new ChatSession(llm, samplingOf(flags), flags.system), {
        input,
        output,
        notices,
        interactive,
      });
      const answered = await loop.run();
      // Who types has seen the error and gone on.
      if (!answered && !interactive) process.exitCode = 1;
    });
  });
}
