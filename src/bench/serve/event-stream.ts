import { createParser } from "eventsource-parser";

/** Server-sent events, read as they come and cut anywhere; each is given as its data. */
export class EventStream {
  private readonly parser;

  constructor(onEvent: (data: string) => void) {
    this.parser = createParser({ onEvent: ({ data }) => onEvent(data) });
  }

  push(text: string): void {
    this.parser.feed(text);
  }

  /** An event that the end of the stream cut off is given too: some servers leave out the last empty line. */
  end(): void {
    this.parser.feed("\n\n");
    this.parser.reset();
  }
}
