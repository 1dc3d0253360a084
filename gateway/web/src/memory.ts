import { signal } from "@preact/signals";
import type { RobotTable, Schemas, ZoneStatus } from "starling-client";

const SAMPLE_MS = 5_000;
/** Samples of a robot or a zone: a quarter of an hour. */
export const SAMPLES = 180;
/** Robots and zones that are remembered; those that come later are not. */
const MOST_SUBJECTS = 30_000;
/** Zones whose windows are remembered. */
const MOST_WINDOWS = 2_000;
const FORGET_EVERY = 60; // samples
/** Points of the warehouse's tempo: half an hour. */
const TEMPO_POINTS = 900;
const NOTHING = 65_535;
/** A pause of the page, a hidden tab say, is a gap in the line, not a line across it. */
const GAP_S = 15;

/** What a chart draws: seconds since 1970, and a column a line; null = a gap. */
export type Series = [times: number[], ...columns: (number | null)[][]];

/** What the page has seen in the last minutes, for its charts. The stored history is longer and not here. */
export class Memory {
  /** Rises with each sample. */
  readonly changes = signal(0);
  readonly #subjects = new Rings(2, MOST_SUBJECTS);
  readonly #windows = new Rings(4, MOST_WINDOWS);
  readonly #times = new Float64Array(SAMPLES);
  #count = 0;
  #last = -SAMPLE_MS; // by the clock that is never set
  readonly #tempo: { t: number; finished: number | null; decision: number | null; command: number | null; moving: number | null; waiting: number | null }[] = [];

  /** Takes a sample where it is time for one. */
  sample(now: number, robots: RobotTable | null, zones: ReadonlyMap<string, ZoneStatus>, steady = performance.now()): void {
    if (steady - this.#last < SAMPLE_MS) return;
    this.#last = steady;
    const all = [this.#subjects, this.#windows];
    if (this.#count % FORGET_EVERY === 0) all.forEach((r) => r.forget());
    const at = this.#count++ % SAMPLES;
    this.#times[at] = now / 1000;
    all.forEach((r) => r.clear(at));
    if (robots) {
      for (let row = 0; row < robots.size; row++) {
        if (robots.live[row] === 0) continue;
        const battery = robots.battery[row]!;
        this.#subjects.put(robots.ids[row]!, at, Number.isNaN(battery) ? NOTHING : Math.round(battery * 200), Math.round(robots.speed[row]! * 50));
      }
    }
    for (const z of zones.values()) {
      this.#subjects.put(z.zone_id, at, z.occupancy, z.queue_length);
      const w = z.window;
      // A limit of 0 is none.
      if (w) this.#windows.put(z.zone_id, at, w.admitted, w.inbound, w.limit > 0 ? w.limit : NOTHING, w.shadow > 0 ? w.shadow : NOTHING);
    }
    this.changes.value++;
  }

  /** Takes an overview. */
  tempo(at: number, o: Schemas["Overview"]): void {
    if (this.#tempo.length > 0 && at / 1000 <= this.#tempo[this.#tempo.length - 1]!.t) return;
    const last = this.#tempo[this.#tempo.length - 1];
    if (last && at / 1000 - last.t > GAP_S) this.#tempo.push({ t: last.t + 1, finished: null, decision: null, command: null, moving: null, waiting: null });
    while (this.#tempo.length >= TEMPO_POINTS) this.#tempo.shift();
    this.#tempo.push({
      t: at / 1000, finished: o.tasks.finished_last_minute, decision: o.decision_ms?.p99 ?? null, command: o.command_ms?.p99 ?? null,
      moving: o.robots.state["MOVING"] ?? 0, waiting: o.robots.state["WAITING"] ?? 0,
    });
    this.changes.value++;
  }

  /** Tasks finished in the minute before. */
  finished(): Series {
    return [this.#tempo.map((p) => p.t), this.#tempo.map((p) => p.finished)];
  }

  /** P99 of decisions and of commands, ms. */
  latencies(): Series {
    return [this.#tempo.map((p) => p.t), this.#tempo.map((p) => p.decision), this.#tempo.map((p) => p.command)];
  }

  /** Robots that move, and that wait. */
  motion(): Series {
    return [this.#tempo.map((p) => p.t), this.#tempo.map((p) => p.moving), this.#tempo.map((p) => p.waiting)];
  }

  /** Subjects that did not fit. */
  get dropped(): number {
    return this.#subjects.dropped + this.#windows.dropped;
  }

  /** A robot's battery (percent) and speed (m/s). */
  robot(id: string): Series {
    return this.#series(this.#subjects, id, (v, i) => (i === 0 ? v / 2 : v / 50));
  }

  /** A zone's occupancy and queue. */
  zone(id: string): Series {
    return this.#series(this.#subjects, id, (v) => v);
  }

  /** A zone's congestion window: robots in it, robots on their way in, the limit, what the adaptive controller would set. */
  window(id: string): Series {
    return this.#series(this.#windows, id, (v) => v);
  }

  #series(of: Rings, id: string, value: (v: number, column: number) => number): Series {
    const times: number[] = [], columns: (number | null)[][] = Array.from({ length: of.width }, () => []);
    for (let i = Math.max(0, this.#count - SAMPLES); i < this.#count; i++) {
      const at = i % SAMPLES;
      if (this.#times[at]! <= (times[times.length - 1] ?? 0)) continue; // the server's clock was set back
      times.push(this.#times[at]!);
      columns.forEach((c, k) => {
        const v = of.at(id, at, k);
        c.push(v === NOTHING ? null : value(v, k));
      });
    }
    return [times, ...columns];
  }
}

/** What was sampled of many subjects, `width` numbers a sample. */
class Rings {
  readonly width: number;
  dropped = 0;
  readonly #most: number;
  readonly #rings = new Map<string, Uint16Array>();

  constructor(width: number, most: number) {
    this.width = width;
    this.#most = most;
  }

  put(id: string, at: number, ...values: number[]): void {
    let ring = this.#rings.get(id);
    if (!ring) {
      if (this.#rings.size >= this.#most) return void this.dropped++;
      ring = new Uint16Array(this.width * SAMPLES).fill(NOTHING);
      this.#rings.set(id, ring);
    }
    for (let i = 0; i < this.width; i++) ring[this.width * at + i] = Math.min(NOTHING, values[i]!);
  }

  at(id: string, at: number, column: number): number {
    return this.#rings.get(id)?.[this.width * at + column] ?? NOTHING;
  }

  /** Nobody was seen at a sample, so far. */
  clear(at: number): void {
    for (const ring of this.#rings.values()) ring.fill(NOTHING, this.width * at, this.width * (at + 1));
  }

  /** Forgets who was not seen for as long as is remembered. */
  forget(): void {
    for (const [id, ring] of this.#rings) if (ring.every((v) => v === NOTHING)) this.#rings.delete(id);
  }
}
