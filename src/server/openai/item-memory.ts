import { LRUCache } from "lru-cache";
import type { OutputItem } from "./response-items";

/** Characters of items that are kept, about. */
const KEPT_CHARACTERS = 16 << 20;

/**
 * Items of the last responses by their ids, for clients that refer to them where others send them again. In this process's
 * memory only, until newer ones take their place.
 */
export class ItemMemory {
  private readonly items = new LRUCache<string, OutputItem>({
    maxSize: KEPT_CHARACTERS,
    sizeCalculation: (item) => JSON.stringify(item).length,
  });

  keep(items: readonly OutputItem[]): void {
    for (const item of items) this.items.set(item.id, item);
  }

  find(id: string): OutputItem | undefined {
    return this.items.get(id);
  }
}
