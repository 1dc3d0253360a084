import type { RobotTable } from "starling-client";
import { ABSENT, MARK, packLook } from "./look.js";

/** 32-bit words of a packed robot: x0 y0 x1 y1, θ0 θ1, start, heard, look (four bytes). */
export const WORDS = 9;
/** Robots of a block, the unit of uploading. */
export const BLOCK = 256;
// Farther than a robot drives between two updates: it was put there, and is not shown sliding through racks.
const LEAP_M = 12;
// Seconds as 32-bit floats are exact to a millisecond for some four hours.
const REBASE_S = 4 * 3600;
const NEVER = -1e9;

/**
 * The robots as the shader wants them: where each was drawn when it last moved, where it is now, when that began. 36 bytes a robot, no
 * object per robot; rows are those of the table. A row that does not change is not touched again: its motion runs out in the shader.
 */
export class Fleet {
  /** Rows in use. */
  size = 0;
  /** Robots that have a place on the map. */
  drawn = 0;
  /** Rises when the buffers are replaced. */
  revision = 0;
  f32 = new Float32Array(0);
  u32 = new Uint32Array(0);
  /** 1 = a row of the block changed since the last {@link drain}. */
  dirty = new Uint8Array(0);
  /** What the table is, for labels. */
  table: RobotTable | null = null;
  /** Seconds that a motion takes: the measured time between two updates. */
  interval = 1;
  /** Until when something moves, ms of performance.now(). */
  movingUntil = 0;

  #generation = -1;
  #base: number;
  #heardBase: number;
  #matching: Uint8Array | null = null;
  #moved = false;

  /** `now` = performance.now(), `server` = the server's clock, ms since 1970. */
  constructor(now: number, server: number) {
    this.#base = now;
    this.#heardBase = server;
  }

  /** performance.now() as the rows count it, seconds. */
  clock(now: number): number {
    return (now - this.#base) / 1000;
  }

  /** The server's clock as `heard` counts it, seconds. */
  heardClock(server: number): number {
    return (server - this.#heardBase) / 1000;
  }

  /** Takes an update of the table; `rows` null = all of it. `smooth` = motions are being shown. */
  take(t: RobotTable, rows: Uint32Array | null, now: number, smooth: boolean): void {
    let all = rows === null;
    if (t.generation !== this.#generation || t !== this.table) {
      this.#generation = t.generation;
      this.table = t;
      this.size = this.drawn = 0;
      this.u32.fill(ABSENT);
      all = true;
    }
    if (this.clock(now) > REBASE_S) this.#rebase(now);
    this.#reserve(t.size);
    for (let row = this.size; row < t.size; row++) this.u32[row * WORDS + 8] = ABSENT;
    this.size = t.size;
    const clock = this.clock(now);
    if (all) for (let row = 0; row < t.size; row++) this.#put(t, row, clock, smooth);
    else for (let i = 0; i < rows!.length; i++) this.#put(t, rows![i]!, clock, smooth);
    if (this.#moved) this.movingUntil = now + 1000 * this.interval;
    this.#moved = false;
  }

  /** 1 = the row matches the filter, null = no filter. Rows beyond its end match. Says whether anything looks different now. */
  match(rows: Uint8Array | null): boolean {
    if (rows === null && this.#matching === null) return false;
    this.#matching = rows;
    let changed = false;
    for (let row = 0; row < this.size; row++) {
      const at = row * WORDS + 8, look = this.u32[at]!;
      const next = (look & ~(MARK.dim << 16)) | (this.#dim(row) << 16);
      if (next >>> 0 !== look) {
        this.u32[at] = next;
        this.dirty[(row / BLOCK) | 0] = 1;
        changed = true;
      }
    }
    return changed;
  }

  /** Whether the row's robot has a place on the map. */
  has(row: number): boolean {
    return row >= 0 && row < this.size && (this.u32[row * WORDS + 8]! & 0xff) !== ABSENT;
  }

  /** How far the row's motion is, 0..1. */
  progress(row: number, clock: number): number {
    const t = (clock - this.f32[row * WORDS + 6]!) / this.interval;
    return t <= 0 ? 0 : t >= 1 ? 1 : t;
  }

  /** Where the row's robot is drawn. `clock` = {@link clock} of now, Infinity = where motions end. */
  xAt(row: number, clock: number): number {
    const o = row * WORDS, t = this.progress(row, clock);
    return this.f32[o]! + (this.f32[o + 2]! - this.f32[o]!) * t;
  }

  /** As {@link xAt}. */
  yAt(row: number, clock: number): number {
    const o = row * WORDS, t = this.progress(row, clock);
    return this.f32[o + 1]! + (this.f32[o + 3]! - this.f32[o + 1]!) * t;
  }

  /** Gives the changed spans of rows to `upload` (from, to), joined where they touch, and forgets them. */
  drain(upload: (from: number, to: number) => void): void {
    const blocks = Math.ceil(this.size / BLOCK);
    for (let b = 0; b < blocks; b++) {
      if (this.dirty[b] === 0) continue;
      const from = b;
      while (b < blocks && this.dirty[b] === 1) this.dirty[b++] = 0;
      upload(from * BLOCK, Math.min(b * BLOCK, this.size));
    }
  }

  #put(t: RobotTable, row: number, clock: number, smooth: boolean): void {
    if (row >= t.size) return;
    const f = this.f32, o = row * WORDS;
    this.dirty[(row / BLOCK) | 0] = 1;
    const was = (this.u32[o + 8]! & 0xff) !== ABSENT;
    const x = t.x[row]!, y = t.y[row]!;
    if (t.live[row] !== 1 || !(x === x && y === y)) {
      if (was) this.drawn--;
      this.u32[o + 8] = ABSENT;
      return;
    }
    let theta = t.theta[row]!;
    if (!was) {
      this.drawn++;
      this.#rest(o, x, y, theta, clock);
    } else if (f[o + 2] !== x || f[o + 3] !== y || Math.abs(Math.sin((f[o + 5]! - theta) / 2)) > 1e-4) {
      const p = smooth ? this.progress(row, clock) : 1;
      const fx = f[o]! + (f[o + 2]! - f[o]!) * p, fy = f[o + 1]! + (f[o + 3]! - f[o + 1]!) * p;
      const from = f[o + 4]! + (f[o + 5]! - f[o + 4]!) * p;
      if (Math.abs(fx - x) + Math.abs(fy - y) > LEAP_M) this.#rest(o, x, y, theta, clock);
      else {
        theta += 2 * Math.PI * Math.round((from - theta) / (2 * Math.PI)); // the short way round
        f[o] = fx; f[o + 1] = fy; f[o + 2] = x; f[o + 3] = y; f[o + 4] = from; f[o + 5] = theta; f[o + 6] = clock;
        this.#moved = true;
      }
    }
    const heard = t.heardAt[row]!;
    f[o + 7] = heard === heard ? this.heardClock(heard) : NEVER;
    this.u32[o + 8] = packLook(t.state[row]!, t.connection[row]!, t.flags[row]!, t.waiting[row]!) | (this.#dim(row) << 16);
  }

  #rest(o: number, x: number, y: number, theta: number, clock: number): void {
    const f = this.f32;
    f[o] = f[o + 2] = x;
    f[o + 1] = f[o + 3] = y;
    f[o + 4] = f[o + 5] = theta;
    f[o + 6] = clock;
  }

  #dim(row: number): number {
    const m = this.#matching;
    return m !== null && row < m.length && m[row] === 0 ? MARK.dim : 0;
  }

  // All clocks begin anew: a page stays open for weeks, a float does not.
  #rebase(now: number): void {
    const by = this.clock(now);
    for (let row = 0; row < this.size; row++) {
      this.f32[row * WORDS + 6]! -= by;
      this.f32[row * WORDS + 7]! -= by;
    }
    this.#base = now;
    this.#heardBase += 1000 * by;
    this.dirty.fill(1);
  }

  #reserve(rows: number): void {
    if (rows * WORDS <= this.f32.length) return;
    const capacity = Math.max(1024, Math.ceil(rows * 1.25));
    const f32 = new Float32Array(capacity * WORDS);
    f32.set(this.f32);
    this.f32 = f32;
    this.u32 = new Uint32Array(f32.buffer);
    this.dirty = new Uint8Array(Math.ceil(capacity / BLOCK)).fill(1);
    this.revision++;
  }
}
