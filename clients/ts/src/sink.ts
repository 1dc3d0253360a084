import type { Task } from "./api.js";
import { FrameError, FrameReader, type Frame } from "./frame.js";
import { RobotTable } from "./robots.js";
import type { Alert, AlertEvent, Channel, Heat, RobotDetail, TaskEvent, WireEvent, ZoneStatus } from "./wire.js";

/** A part of a snapshot: items of JSON, or a binary frame. */
export type Part = unknown[] | Frame;

/** What a channel does with what arrives: it keeps the state and tells the caller. `now`: ms, the server's clock. */
export interface Sink {
  readonly channel: Channel;
  /** Whether a break is bridged with `since`: event channels; state channels begin with a snapshot anyway. */
  readonly resumes: boolean;
  /** Whether the robots' orders are asked for too. */
  readonly detail: boolean;
  /** Replaces the state. @throws FrameError */
  snapshot(parts: readonly Part[], now: number): void;
  delta(events: readonly WireEvent[], now: number): void;
  /** @throws FrameError */
  frame(f: Frame): void;
}

function* itemsOf<T>(parts: readonly Part[]): Generator<T, void, undefined> {
  for (const part of parts) {
    if (!Array.isArray(part)) throw new FrameError("a binary frame where JSON was expected");
    yield* part as T[];
  }
}

export class RobotSink implements Sink {
  readonly channel = "robots";
  readonly resumes = false;
  readonly detail = false;
  readonly #table = new RobotTable();
  readonly #change: (t: RobotTable, changed: Uint32Array | null) => void;
  #reader = new FrameReader(this.#table);

  constructor(change: (t: RobotTable, changed: Uint32Array | null) => void) {
    this.#change = change;
  }

  snapshot(parts: readonly Part[], now: number): void {
    const frames = parts.filter((p): p is Frame => !Array.isArray(p));
    if (frames.length > 0) {
      if (frames.length < parts.length) throw new FrameError("a snapshot half binary, half JSON");
      this.#reader.snapshot(frames);
    } else {
      this.#reader = new FrameReader(this.#table);
      this.#table.reset(parts.reduce((n, p) => n + (p as unknown[]).length, 0));
      for (const robot of itemsOf<RobotDetail>(parts)) this.#table.put(robot, now);
    }
    this.#change(this.#table, null);
  }

  delta(events: readonly WireEvent[], now: number): void {
    const rows = new Uint32Array(events.length);
    let n = 0;
    for (const e of events) {
      if (e.type === "robot_status") {
        rows[n++] = this.#table.put(e.data as RobotDetail, now);
      } else if (e.type === "robot_removed") {
        const row = this.#table.row((e.data as { robot_id: string }).robot_id);
        if (row < 0) continue;
        this.#table.leave(row);
        rows[n++] = row;
      }
    }
    this.#change(this.#table, rows.subarray(0, n));
  }

  frame(f: Frame): void {
    this.#change(this.#table, this.#reader.delta(f));
  }
}

// What comes as JSON alone.
abstract class JsonSink {
  frame(_: Frame): void {
    throw new FrameError("a binary frame where JSON was expected");
  }
}

export class TaskSink extends JsonSink implements Sink {
  readonly channel = "tasks";
  readonly resumes = true;
  readonly detail = false;
  readonly #on: { snapshot(tasks: Task[]): void; events(e: TaskEvent[]): void };

  constructor(on: { snapshot(tasks: Task[]): void; events(e: TaskEvent[]): void }) {
    super();
    this.#on = on;
  }

  snapshot(parts: readonly Part[]): void {
    this.#on.snapshot([...itemsOf<Task>(parts)]);
  }

  delta(events: readonly WireEvent[]): void {
    const known = events.filter((e) => e.type === "task_progress").map((e) => e.data as TaskEvent);
    if (known.length > 0) this.#on.events(known);
  }
}

export class AlertSink extends JsonSink implements Sink {
  readonly channel = "alerts";
  readonly resumes = true;
  readonly detail = false;
  readonly #on: { snapshot(alerts: Alert[]): void; events(e: AlertEvent[]): void };

  constructor(on: { snapshot(alerts: Alert[]): void; events(e: AlertEvent[]): void }) {
    super();
    this.#on = on;
  }

  snapshot(parts: readonly Part[]): void {
    this.#on.snapshot([...itemsOf<Alert>(parts)]);
  }

  delta(events: readonly WireEvent[]): void {
    const known = events.filter((e) => e.type === "alert" || e.type === "congestion_alert").map((e) => e.data as AlertEvent);
    if (known.length > 0) this.#on.events(known);
  }
}

// The event that sets a key, the one that removes it, and where in their data the key stands.
interface Names {
  set: string;
  removed: string;
  key: string;
}

/** Keeps the latest of each key in a map: zones, robots in detail. */
export class MapSink<T> extends JsonSink implements Sink {
  readonly resumes = false;
  readonly channel: Channel;
  readonly detail: boolean;
  readonly #names: Names;
  readonly #all = new Map<string, T>();
  readonly #change: (all: Map<string, T>) => void;

  constructor(channel: Channel, detail: boolean, names: Names, change: (all: Map<string, T>) => void) {
    super();
    this.channel = channel;
    this.detail = detail;
    this.#names = names;
    this.#change = change;
  }

  snapshot(parts: readonly Part[]): void {
    const items = [...itemsOf<T>(parts)];
    this.#all.clear();
    for (const item of items) this.#all.set(this.#key(item), item);
    this.#change(this.#all);
  }

  delta(events: readonly WireEvent[]): void {
    for (const e of events) {
      if (e.type === this.#names.set) this.#all.set(this.#key(e.data), e.data as T);
      else if (e.type === this.#names.removed) this.#all.delete(this.#key(e.data));
    }
    this.#change(this.#all);
  }

  #key(item: unknown): string {
    return String((item as Record<string, unknown>)[this.#names.key]);
  }
}

export function zoneSink(change: (all: Map<string, ZoneStatus>) => void): Sink {
  return new MapSink<ZoneStatus>("zones", false, { set: "zone_status", removed: "zone_removed", key: "zone_id" }, change);
}

export function heatSink(change: (all: Map<string, Heat>) => void): Sink {
  return new MapSink<Heat>("congestion", false, { set: "congestion_heatmap_update", removed: "", key: "id" }, change);
}

export function detailSink(change: (all: Map<string, RobotDetail>) => void): Sink {
  return new MapSink<RobotDetail>("robots", true, { set: "robot_status", removed: "robot_removed", key: "robot_id" }, change);
}
