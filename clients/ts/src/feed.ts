import { backoffMs } from "./backoff.js";
import { ApiError, guarded } from "./error.js";
import { FrameError, type Frame } from "./frame.js";
import type { Part, Sink } from "./sink.js";
import type { Filter, ServerMessage } from "./wire.js";

/** What a feed needs of the connection. */
export interface Line {
  /** Sends where the connection is open; else the message is not needed: everything is asked again when it opens. */
  send(message: object): void;
  /** The server's clock, ms since 1970. */
  now(): number;
  count(what: keyof Counters): void;
  refused(error: ApiError): void;
}

/** What went wrong so far; for a debug panel and for tests. */
export interface Counters {
  /** Connections that were opened. */
  opened: number;
  /** Deltas whose seq was not the next one: faults of the server or of what lies between. */
  gaps: number;
  /** Snapshots that the server sent unasked, since this client was too slow for the deltas. */
  resyncs: number;
  /** Messages and binary frames that could not be understood. */
  unreadable: number;
}

/** Parts of one snapshot, of 1,000 items each, that are held until the last one: 4 million items. */
const PARTS_MOST = 4096;
/** Waits before a subscription that failed is asked again. */
const AGAIN_FIRST_MS = 500;
const AGAIN_MOST_MS = 15_000;
/** A subscription that has flowed for so long begins its waits anew. */
const STEADY_MS = 10_000;
/** Refusals that pass by themselves. */
const PASSING = ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "TIMEOUT", "INTERNAL_ERROR"];

type Phase = "off" | "asked" | "snapshot" | "flowing" | "refused";

/**
 * One subscription: it asks, checks that `seq` is contiguous, gathers the parts of a snapshot and asks anew, without `since`, where
 * something is missing. It outlives the connections.
 */
export class Feed {
  readonly #id: number;
  readonly #sink: Sink;
  readonly #line: Line;
  readonly #refusal: ((e: ApiError) => void) | undefined;
  #filter: Filter;
  #rateHz: number | undefined;
  #phase: Phase = "off";
  #epoch = "";
  #seq = -1; // of the last delta or snapshot that the caller has; -1 = the caller has nothing
  #parts: Part[] = [];
  #failures = 0;
  #flowingSince = 0;
  #again: ReturnType<typeof setTimeout> | undefined;

  constructor(id: number, sink: Sink, line: Line, filter: Filter, rateHz: number | undefined, refusal: ((e: ApiError) => void) | undefined) {
    this.#id = id;
    this.#sink = sink;
    this.#line = line;
    this.#filter = filter;
    this.#rateHz = rateHz;
    this.#refusal = refusal;
  }

  /** Whether the caller has the state of now and is told of what changes. */
  get flowing(): boolean {
    return this.#phase === "flowing";
  }

  /** Asks for the subscription, from where the caller is if that can be. */
  ask(): void {
    clearTimeout(this.#again);
    this.#again = undefined;
    this.#phase = "asked";
    this.#parts = [];
    this.#line.send({
      op: "subscribe",
      id: this.#id,
      channel: this.#sink.channel,
      filter: this.#filter,
      ...(this.#sink.detail ? { detail: true } : {}),
      ...(this.#rateHz === undefined ? {} : { rate_hz: this.#rateHz }),
      ...(this.#sink.resumes && this.#seq >= 0 ? { since: { epoch: this.#epoch, seq: this.#seq } } : {}),
    });
  }

  /** The connection is gone. */
  off(): void {
    clearTimeout(this.#again);
    this.#again = undefined;
    this.#phase = "off";
    this.#parts = [];
  }

  /** The caller wants something else. */
  change(filter: Filter | undefined, rateHz: number | undefined): void {
    if (filter !== undefined) {
      this.#filter = filter;
      this.#seq = -1; // what the caller has is not a part of what it asks for now
    }
    if (rateHz !== undefined) this.#rateHz = rateHz;
    if (this.#phase !== "off") this.ask();
  }

  /** Takes a message of this subscription. */
  message(m: ServerMessage): void {
    switch (m.op) {
      case "subscribed":
        return this.#subscribed(m.epoch, m.recovered);
      case "snapshot":
        return this.#snapshot(m.items, m.seq, m.more);
      case "delta":
        return this.#delta(m.seq, () => this.#sink.delta(m.events, this.#line.now()));
      case "error":
        return this.#refused(new ApiError(0, m.error, m.retryAfterMs));
      default:
        return;
    }
  }

  /** Takes a binary frame of this subscription. */
  frame(f: Frame): void {
    if (f.snapshot) this.#snapshot(f, f.seq, f.more);
    else this.#delta(f.seq, () => this.#sink.frame(f));
  }

  #subscribed(epoch: string, recovered: boolean): void {
    if (this.#phase === "off") return;
    if (this.#phase === "flowing" || this.#phase === "snapshot") this.#line.count("resyncs");
    if (recovered && this.#seq < 0) return this.#anew(); // recovered what? We have nothing.
    this.#epoch = epoch;
    if (recovered) {
      this.#flow();
      return;
    }
    this.#seq = -1; // until the snapshot is complete: a break before that must not be bridged
    this.#parts = [];
    this.#phase = "snapshot";
  }

  #snapshot(part: Part, seq: number, more: boolean): void {
    // While we wait for an answer, what comes belongs to the subscription that we have replaced.
    if (this.#phase !== "snapshot" && this.#phase !== "flowing") return;
    this.#phase = "snapshot";
    this.#parts.push(part);
    if (this.#parts.length > PARTS_MOST) return this.#anew();
    if (more) return;
    const parts = this.#parts;
    this.#parts = [];
    this.#seq = seq;
    this.#flow();
    this.#apply(() => this.#sink.snapshot(parts, this.#line.now()));
  }

  #delta(seq: number, apply: () => void): void {
    if (this.#phase !== "snapshot" && this.#phase !== "flowing") return;
    if (this.#phase === "snapshot" || seq !== this.#seq + 1) {
      this.#line.count("gaps");
      return this.#anew();
    }
    this.#seq = seq; // before the caller hears of it: whatever it does, no event comes twice
    this.#apply(apply);
  }

  #apply(f: () => void): void {
    try {
      f();
    } catch (e) {
      if (e instanceof FrameError) {
        this.#line.count("unreadable");
        this.#anew();
        return;
      }
      guarded(() => { throw e; }); // a fault of the caller's handler
    }
  }

  #flow(): void {
    this.#phase = "flowing";
    this.#flowingSince = Date.now();
  }

  // Asks again, for a snapshot. Never in a hot loop: a fault that stays would have the server make snapshots without end.
  #anew(): void {
    if (this.#phase === "flowing" && Date.now() - this.#flowingSince > STEADY_MS) this.#failures = 0;
    this.#seq = -1;
    this.#parts = [];
    this.#phase = "asked"; // what still comes is not for us
    const wait = this.#failures === 0 ? 0 : backoffMs(this.#failures, AGAIN_FIRST_MS, AGAIN_MOST_MS);
    this.#failures++;
    if (wait === 0) this.ask();
    else this.#later(wait);
  }

  #refused(e: ApiError): void {
    if (this.#phase === "off") return;
    this.#phase = "refused";
    if (PASSING.includes(e.code)) this.#later((e.retryAfterMs ?? 0) + backoffMs(this.#failures++, AGAIN_FIRST_MS, AGAIN_MOST_MS));
    guarded(() => (this.#refusal ?? this.#line.refused)(e));
  }

  #later(ms: number): void {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.ask(), ms);
  }
}
