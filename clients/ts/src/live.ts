import type { Task } from "./api.js";
import { ApiError, guarded } from "./error.js";
import { Feed, type Counters, type Line } from "./feed.js";
import { readFrame } from "./frame.js";
import { Link, type LinkState, type Timing, type WebSocketConstructor } from "./link.js";
import type { RobotTable } from "./robots.js";
import { AlertSink, detailSink, heatSink, RobotSink, TaskSink, zoneSink, type Sink } from "./sink.js";
import { readMessage, type Alert, type AlertEvent, type Filter, type Heat, type RobotDetail, type ServerMessage, type TaskEvent, type ZoneStatus } from "./wire.js";

export type LiveState = LinkState;

/** A subscription that lasts, over all reconnections, until it is closed. */
export interface Subscription {
  /** Whether the caller has the state of now and is told of what changes: false until the first snapshot, and while it is refused. */
  readonly flowing: boolean;
  /** Asks for something else, or more or less often: what follows begins with a snapshot. */
  update(o: { filter?: Filter; rateHz?: number }): void;
  close(): void;
}

/** Told when the server refuses the subscription (a filter that it cannot read, say); else {@link Live.onError} is told. */
export interface Refusable {
  error?(e: ApiError): void;
}

export interface LiveOptions {
  /** http(s) base of the server, with or without a path. */
  url: string;
  /** The bearer token of now. Asked at each connection, at {@link Live.renewToken}, and a little before the token at hand expires. */
  token: () => string | Promise<string>;
  /** Tenant id; needed where the token names several. */
  tenant?: string;
  /** `bin`: robots (without detail) come in binary frames, a twentieth of the bytes. Default `json`. */
  encoding?: "json" | "bin";
  /** The constructor of WebSockets where the platform has none (Node before 22): that of the package `ws`. */
  WebSocket?: WebSocketConstructor;
  /** For tests. */
  timing?: Partial<Timing>;
}

/**
 * The live channel: one WebSocket with up to 16 subscriptions on it. It reconnects by itself, goes on where it was (`since`) where
 * the server can, else begins with a snapshot, and says in {@link state} how it stands and how old the data is.
 */
export class Live {
  readonly counters: Counters = { opened: 0, gaps: 0, resyncs: 0, unreadable: 0 };
  readonly #link: Link;
  readonly #feeds = new Map<number, Feed>();
  readonly #errors = new Set<(e: ApiError) => void>();
  #lastId = 0;

  constructor(o: LiveOptions) {
    this.#link = new Link(o, {
      opened: () => this.#opened(),
      closed: () => this.#feeds.forEach((f) => f.off()),
      text: (text) => this.#text(text),
      binary: (data) => this.#binary(data),
    });
    this.#link.start();
  }

  get state(): LiveState {
    return this.#link.state;
  }

  /** Calls `f` at each change of {@link state} but `lastMessageAt`; gives what ends that. */
  onState(f: (s: LiveState) => void): () => void {
    return this.#link.onState(f);
  }

  /** Calls `f` with each refusal that belongs to no subscription, or to one without an `error` of its own. */
  onError(f: (e: ApiError) => void): () => void {
    this.#errors.add(f);
    return () => void this.#errors.delete(f);
  }

  /** Keeps a table of the robots. `changed` = the rows that changed, those of robots that left included; null = all. */
  robots(
    o: { filter?: Filter; rateHz?: number },
    on: { change(t: RobotTable, changed: Uint32Array | null): void } & Refusable,
  ): Subscription {
    return this.#add(new RobotSink((t, rows) => on.change(t, rows)), o.filter, o.rateHz, on);
  }

  /** The open tasks (with `task_ids` those tasks), then each recorded transition once and in order. A snapshot replaces all. */
  tasks(o: { filter?: Filter }, on: { snapshot(tasks: Task[]): void; events(e: TaskEvent[]): void } & Refusable): Subscription {
    return this.#add(new TaskSink(on), o.filter, undefined, on);
  }

  /** The unresolved alerts, then each recorded step of any alert once and in order. A snapshot replaces all. */
  alerts(o: { filter?: Filter }, on: { snapshot(alerts: Alert[]): void; events(e: AlertEvent[]): void } & Refusable): Subscription {
    return this.#add(new AlertSink(on), o.filter, undefined, on);
  }

  /** Keeps the zones by id, always in the same map. */
  zones(o: { filter?: Filter; rateHz?: number }, on: { change(z: Map<string, ZoneStatus>): void } & Refusable): Subscription {
    return this.#add(zoneSink((z) => on.change(z)), o.filter, o.rateHz, on);
  }

  /** Keeps the newest scores of congestion of zones and lanes by id, always in the same map. A lane that jams no more stays with an index near 0. */
  congestion(o: { filter?: Filter; rateHz?: number }, on: { change(h: Map<string, Heat>): void } & Refusable): Subscription {
    return this.#add(heatSink((h) => on.change(h)), o.filter, o.rateHz, on);
  }

  /** Keeps up to 20 robots in full, with their orders, by id, always in the same map. */
  robotDetails(o: { robotIds: string[]; rateHz?: number }, on: { change(robots: Map<string, RobotDetail>): void } & Refusable): Subscription {
    return this.#add(detailSink((r) => on.change(r)), { robot_ids: o.robotIds }, o.rateHz, on);
  }

  /**
   * Asks the token callback and gives the token to the open connection, which goes on; after a refusal (`closed` with
   * `unauthenticated` or `forbidden`) connects again. Rejects with ApiError where the server does not take it.
   */
  renewToken(): Promise<void> {
    return this.#link.renewToken();
  }

  /** Ends the connection and all subscriptions for good. */
  close(): void {
    this.#feeds.forEach((f) => f.off());
    this.#feeds.clear();
    this.#link.close();
  }

  #add(sink: Sink, filter: Filter = {}, rateHz: number | undefined, on: Refusable): Subscription {
    const id = ++this.#lastId;
    const line: Line = {
      send: (m) => this.#link.send(m),
      now: () => Date.now() + this.#link.state.clockOffsetMs,
      count: (what) => void this.counters[what]++,
      refused: (e) => this.#refused(e),
    };
    const feed = new Feed(id, sink, line, filter, rateHz, on.error ? (e) => on.error!(e) : undefined);
    this.#feeds.set(id, feed);
    if (this.#link.open) feed.ask();
    return {
      get flowing() {
        return feed.flowing;
      },
      update: (u) => {
        if (this.#feeds.has(id)) feed.change(u.filter, u.rateHz);
      },
      close: () => {
        if (!this.#feeds.delete(id)) return;
        feed.off();
        this.#link.send({ op: "unsubscribe", id });
      },
    };
  }

  #opened(): void {
    this.counters.opened++;
    this.#feeds.forEach((f) => f.ask());
  }

  #text(text: string): void {
    const m = readMessage(text);
    if (m === null) this.counters.unreadable++;
    else if (!this.#link.take(m)) this.#route(m);
  }

  #route(m: ServerMessage): void {
    if (!("id" in m) || m.id === null) {
      if (m.op === "error") this.#refused(new ApiError(0, m.error, m.retryAfterMs));
      return;
    }
    this.#feeds.get(m.id)?.message(m); // none: what was still under way when the subscription was closed
  }

  #binary(data: ArrayBuffer): void {
    try {
      const frame = readFrame(data);
      this.#feeds.get(frame.id)?.frame(frame);
    } catch {
      this.counters.unreadable++; // without its seq the next one shows a gap
    }
  }

  #refused(e: ApiError): void {
    this.#errors.forEach((f) => guarded(() => f(e)));
  }
}
