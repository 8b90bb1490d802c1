/** Fuzzes one reader until its time is up; main.ts starts it, and looks after it. Its last line is its Progress. */
import { configTarget } from "./config";
import { fuzz } from "./fuzz";
import { ggufTarget } from "./gguf";
import { safetensorsTarget } from "./safetensors";
import { tokenizerTarget } from "./tokenizer";
import { torchTarget } from "./torch";

const targets = [safetensorsTarget, torchTarget, ggufTarget, configTarget, tokenizerTarget];

// The tokenizer library writes to the terminal what it does not know.
console.warn = () => {};

async function main(): Promise<void> {
  const [name, seconds, seed, dir] = process.argv.slice(2);
  const target = targets.find((one) => one.name === name)!;
  const end = performance.now() + 1000 * Number(seconds);
  let saidAt = 0;
  const progress = await fuzz(target, {
    dir: dir!,
    seed: Number(seed),
    isOver: (now) => {
      const time = performance.now();
      if (time - saidAt > 500) {
        saidAt = time;
        process.stdout.write(`${JSON.stringify(now)}\n`);
      }
      return time >= end;
    },
  });
  process.stdout.write(`${JSON.stringify(progress)}\n`);
}

void main();
