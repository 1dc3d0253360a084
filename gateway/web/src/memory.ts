import { signal } from "@preact/signals";
import type { RobotTable, Schemas, ZoneStatus } from "starling-client";

const SAMPLE_MS = 5_000;
/** Samples of a robot or a zone: a quarter of an hour. */
export const SAMPLES = 180;
/** Robots and zones that are remembered; those that come later are not. */
const MOST_SUBJECTS = 30_000;
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
  /** Subjects that did not fit. */
  dropped = 0;
  readonly #subjects = new Map<string, Uint16Array>(); // two numbers a sample, a ring
  readonly #times = new Float64Array(SAMPLES);
  #count = 0;
  #last = -SAMPLE_MS; // by the clock that is never set
  readonly #tempo: { t: number; finished: number | null; decision: number | null; command: number | null; moving: number | null; waiting: number | null }[] = [];

  /** Takes a sample where it is time for one. */
  sample(now: number, robots: RobotTable | null, zones: ReadonlyMap<string, ZoneStatus>, steady = performance.now()): void {
    if (steady - this.#last < SAMPLE_MS) return;
    this.#last = steady;
    if (this.#count % FORGET_EVERY === 0) this.#forget();
    const at = this.#count++ % SAMPLES;
    this.#times[at] = now / 1000;
    for (const ring of this.#subjects.values()) ring.fill(NOTHING, 2 * at, 2 * at + 2);
    if (robots) {
      for (let row = 0; row < robots.size; row++) {
        if (robots.live[row] === 0) continue;
        const battery = robots.battery[row]!;
        this.#put(robots.ids[row]!, at, Number.isNaN(battery) ? NOTHING : Math.round(battery * 200), Math.round(robots.speed[row]! * 50));
      }
    }
    for (const z of zones.values()) this.#put(z.zone_id, at, z.occupancy, z.queue_length);
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

  /** A robot's battery (percent) and speed (m/s). */
  robot(id: string): Series {
    return this.#series(id, (v) => v / 2, (v) => v / 50);
  }

  /** A zone's occupancy and queue. */
  zone(id: string): Series {
    return this.#series(id, (v) => v, (v) => v);
  }

  #series(id: string, first: (v: number) => number, second: (v: number) => number): Series {
    const ring = this.#subjects.get(id);
    const times: number[] = [], a: (number | null)[] = [], b: (number | null)[] = [];
    for (let i = Math.max(0, this.#count - SAMPLES); i < this.#count; i++) {
      const at = i % SAMPLES;
      const x = ring?.[2 * at] ?? NOTHING, y = ring?.[2 * at + 1] ?? NOTHING;
      if (this.#times[at]! <= (times[times.length - 1] ?? 0)) continue; // the server's clock was set back
      times.push(this.#times[at]!);
      a.push(x === NOTHING ? null : first(x));
      b.push(y === NOTHING ? null : second(y));
    }
    return [times, a, b];
  }

  /** Forgets who was not seen for as long as is remembered. */
  #forget(): void {
    for (const [id, ring] of this.#subjects) if (ring.every((v) => v === NOTHING)) this.#subjects.delete(id);
  }

  #put(id: string, at: number, a: number, b: number): void {
    let ring = this.#subjects.get(id);
    if (!ring) {
      if (this.#subjects.size >= MOST_SUBJECTS) return void this.dropped++;
      ring = new Uint16Array(2 * SAMPLES).fill(NOTHING);
      this.#subjects.set(id, ring);
    }
    ring[2 * at] = Math.min(NOTHING, a);
    ring[2 * at + 1] = Math.min(NOTHING - 1, b);
  }
}
