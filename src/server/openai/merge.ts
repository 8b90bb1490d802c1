interface Pending<Item> {
  readonly item: Item;
  readonly taken: () => void;
}

/**
 * Items of all sources in the order they come. Each source waits until its item is taken, so that a slow reader does not fill
 * the memory. The first failure is thrown; then, and when the reader leaves, `stop` is called to end the sources that still
 * run.
 */
export async function* merge<Item>(sources: readonly AsyncIterable<Item>[], stop: () => void): AsyncGenerator<Item> {
  let ready: Pending<Item>[] = [];
  let running = sources.length;
  let failure: { readonly error: unknown } | undefined;
  let wake = () => {};
  let abandoned = false;

  const pump = async (source: AsyncIterable<Item>) => {
    try {
      for await (const item of source) {
        await new Promise<void>((taken) => {
          ready.push({ item, taken });
          wake();
        });
        if (abandoned) break;
      }
    } catch (error) {
      failure ??= { error };
    }
    running--;
    wake();
  };
  sources.forEach(pump);

  let batch: Pending<Item>[] = [];
  try {
    while (running > 0 && failure === undefined) {
      if (ready.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      batch = ready;
      ready = [];
      for (const { item } of batch) yield item;
      for (const { taken } of batch) taken();
    }
    if (failure !== undefined) throw failure.error;
  } finally {
    abandoned = true;
    if (running > 0) stop();
    for (const { taken } of [...batch, ...ready]) taken();
  }
}
