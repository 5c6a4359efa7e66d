import type { Events } from "./client";

const REOPEN_AFTER_MS = 3_000;

/** What a page is told: how the connection is, and each event with its data as JSON. */
export type StreamMessage =
  | { what: "opened" }
  /** If `refused`, the server has answered with an error, for example as nobody is logged in. */
  | { what: "lost"; refused: boolean }
  | { what: "event"; kind: keyof Events; data: string };

const KINDS: Record<keyof Events, true> = {
  run: true,
  experiment: true,
  epoch: true,
  queue: true,
  deleted: true,
  worker: true,
  own_image: true,
  poolings: true,
  pooling_check: true,
  news: true,
  database: true,
  reset: true,
};

/**
 * The server's events until `close`. The browser reconnects by itself and continues after the last event; a connection
 * that was refused is opened anew here.
 */
export class EventStream {
  /** What whoever comes later must be told: how the connection is, and that the database is away if it is. */
  readonly now = new Map<"connection" | "database", StreamMessage>();
  private source!: EventSource;
  private reopen: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly url: string,
    private readonly tell: (message: StreamMessage) => void,
  ) {
    this.open();
  }

  close() {
    clearTimeout(this.reopen);
    this.source.close();
  }

  private open() {
    this.source = new EventSource(this.url);
    this.source.addEventListener("open", () => {
      this.now.delete("database"); // a new connection is told again if it is away
      this.say("connection", { what: "opened" });
    });
    this.source.addEventListener("error", () => {
      const refused = this.source.readyState === EventSource.CLOSED;
      if (refused) this.reopen = setTimeout(() => this.open(), REOPEN_AFTER_MS);
      this.say("connection", { what: "lost", refused });
    });
    for (const kind of Object.keys(KINDS) as (keyof Events)[]) {
      this.source.addEventListener(kind, ({ data }: MessageEvent<string>) => {
        const message = { what: "event", kind, data } as const;
        if (kind === "database") this.say("database", message);
        else this.tell(message);
      });
    }
  }

  private say(about: "connection" | "database", message: StreamMessage) {
    this.now.set(about, message);
    this.tell(message);
  }
}
