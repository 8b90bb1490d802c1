/** On a busy machine a test may get little of it; but the failure is to be told before Jest's own minute is over. */
const MOST_MS = 50_000;

/** Waits for a condition. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + MOST_MS;
  while (!(await condition())) {
    if (performance.now() > deadline)
      throw new Error(`${MOST_MS / 1000} s have passed, and this is not so: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
