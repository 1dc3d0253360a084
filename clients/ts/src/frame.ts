import type { RobotTable } from "./robots.js";
import { FLAG } from "./robots.js";

// Binary frames of the channel `robots`, layout 1 (docs/live.md). A frame is checked whole before the table is touched, so that a
// bad one changes nothing. 10,000 robots moved take about 0.2 ms, 10,000 in full about 0.5 ms: columns are read in place.

const HEADER = 56;
const FULL = 4 + 3 * 2 + 6; // bytes of a robot in full, without its id and code
const MOVED = 5;
const NEW_LEAST = 17;
/** Handles are dense numbers; a larger one is a fault, not a reason to take 16 MiB for a table of them. */
const HANDLES_MOST = 1 << 22;
const NEVER_HEARD = 65535;

/** A binary frame that cannot be understood: the subscription has to begin anew. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

/** The head of a frame, checked against its length. */
export interface Frame {
  snapshot: boolean;
  /** More parts of this snapshot follow. */
  more: boolean;
  id: number;
  seq: number;
  /** ms since 1970, the server's clock. */
  now: number;
  coalesced: number;
  step: number;
  x0: number;
  y0: number;
  fresh: number;
  full: number;
  moved: number;
  gone: number;
  bytes: Uint8Array;
  view: DataView;
}

/** Reads the head. @throws FrameError where the frame is no frame of layout 1 or its length contradicts its counts. */
export function readFrame(data: ArrayBuffer | Uint8Array): Frame {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  if (bytes.length < HEADER) throw new FrameError("shorter than a header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kind = view.getUint8(0);
  if (kind !== 1 && kind !== 2) throw new FrameError(`unknown kind ${kind}`);
  if (view.getUint16(2, true) !== 1) throw new FrameError(`unknown layout ${view.getUint16(2, true)}`);
  const f: Frame = {
    snapshot: kind === 1,
    more: (view.getUint8(1) & 1) === 1,
    id: view.getUint32(4, true),
    seq: view.getFloat64(8, true),
    now: view.getFloat64(16, true),
    coalesced: view.getUint32(24, true),
    step: view.getFloat32(28, true),
    x0: view.getFloat32(32, true),
    y0: view.getFloat32(36, true),
    fresh: view.getUint32(40, true),
    full: view.getUint32(44, true),
    moved: view.getUint32(48, true),
    gone: view.getUint32(52, true),
    bytes,
    view,
  };
  if (!Number.isSafeInteger(f.seq) || f.seq < 0 || !Number.isFinite(f.now)) throw new FrameError("seq or time is no number");
  if (!Number.isFinite(f.step) || !Number.isFinite(f.x0) || !Number.isFinite(f.y0)) throw new FrameError("the origin is no number");
  if (f.fresh > f.full) throw new FrameError("more new robots than robots");
  // Sums of products of 32 bit numbers: exact in a double.
  const least = HEADER + f.full * FULL + f.gone * 4 + f.moved * MOVED + f.fresh * NEW_LEAST;
  if (f.fresh === 0 ? bytes.length !== least : bytes.length < least) throw new FrameError("the length contradicts the counts");
  return f;
}

/** Applies the frames of one subscription to its table. */
export class FrameReader {
  readonly #table: RobotTable;
  #rowOf = new Int32Array(0); // row by handle, -1 = none
  #handleOf = new Int32Array(0); // handle by row, the latest
  #unitX = new Uint16Array(0); // by row, what `dx` and `dy` count from
  #unitY = new Uint16Array(0);
  #step = 0;
  #x0 = 0;
  #y0 = 0;

  constructor(table: RobotTable) {
    this.#table = table;
  }

  /** Applies all parts of a snapshot: the table is replaced at once. @throws FrameError and leaves the table as it was. */
  snapshot(parts: readonly Frame[]): void {
    if (parts.length === 0) throw new FrameError("a snapshot without parts");
    let robots = 0;
    const names: Names[] = [];
    const used = new Int32Array(handlesOf(parts)).fill(-1);
    for (const f of parts) {
      if (f.full !== f.fresh || f.moved > 0 || f.gone > 0) throw new FrameError("a snapshot with robots that are not new");
      for (let i = 0; i < f.full; i++) {
        const handle = f.view.getUint32(HEADER + 4 * i, true);
        if (used[handle] !== -1) throw new FrameError("a handle twice in a snapshot");
        used[handle] = robots++;
      }
      names.push(readNames(f));
    }
    this.#table.reset(robots);
    this.#rowOf = used;
    this.#fit();
    const rows = new Uint32Array(robots);
    parts.forEach((f, i) => {
      const part = rows.subarray(this.#table.size, this.#table.size + f.full);
      this.#rebase(f);
      for (let k = 0; k < f.full; k++) {
        const row = this.#table.enter(names[i]!.ids[k]!, names[i]!.codes[k]!, true);
        this.#handleOf[row] = f.view.getUint32(HEADER + 4 * k, true);
        part[k] = row;
      }
      this.#full(f, part);
    });
  }

  /** Applies a delta; gives the rows that changed, those that left included. @throws FrameError and leaves the table as it was. */
  delta(f: Frame): Uint32Array {
    this.#check(f);
    const names = readNames(f);
    this.#rebase(f);
    const changed = new Uint32Array(f.gone + f.fresh + f.full + f.moved);
    const goneAt = HEADER + 4 * f.full;
    let n = 0;
    for (let i = 0; i < f.gone; i++) {
      const handle = f.view.getUint32(goneAt + 4 * i, true);
      const row = this.#row(handle);
      if (row < 0) continue; // it came and went between two frames
      this.#table.leave(row); // the handle stays its own: it may come back in full without its name
      changed[n++] = row;
    }
    for (let i = 0; i < f.fresh; i++) {
      const former = this.#name(f.view.getUint32(HEADER + 4 * i, true), this.#table.enter(names.ids[i]!, names.codes[i]!));
      if (former >= 0) changed[n++] = former;
    }
    const from = n;
    for (let i = 0; i < f.fresh; i++) changed[n++] = this.#rowOf[f.view.getUint32(HEADER + 4 * i, true)]!;
    for (let i = f.fresh; i < f.full; i++) {
      const row = this.#rowOf[f.view.getUint32(HEADER + 4 * i, true)]!;
      this.#table.comeBack(row);
      changed[n++] = row;
    }
    this.#fit();
    this.#full(f, changed.subarray(from, n));
    this.#moved(f, changed.subarray(n, n + f.moved));
    return n + f.moved === changed.length ? changed : changed.slice(0, n + f.moved);
  }

  // What could be wrong with a delta beside its names, before anything is changed.
  #check(f: Frame): void {
    for (let i = 0; i < f.fresh; i++) {
      if (f.view.getUint32(HEADER + 4 * i, true) >= HANDLES_MOST) throw new FrameError("a handle out of range");
    }
    for (let i = f.fresh; i < f.full; i++) {
      if (this.#row(f.view.getUint32(HEADER + 4 * i, true)) < 0) throw new FrameError("a robot that the snapshot does not know");
    }
    const gaps = HEADER + f.full * FULL + f.gone * 4;
    for (let i = 0, handle = -1; i < f.moved; i++) {
      const gap = f.bytes[gaps + i]!;
      handle += gap;
      if (gap === 0 || this.#row(handle) < 0) throw new FrameError("a move of a robot that the snapshot does not know");
    }
  }

  #full(f: Frame, rows: Uint32Array): void {
    const { bytes, view, full } = f;
    const t = this.#table;
    const xs = HEADER + 4 * full + 4 * f.gone;
    const ys = xs + 2 * full;
    const ages = ys + 2 * full;
    const heading = ages + 2 * full;
    for (let i = 0; i < full; i++) {
      const row = rows[i]!;
      const ux = view.getUint16(xs + 2 * i, true);
      const uy = view.getUint16(ys + 2 * i, true);
      const age = view.getUint16(ages + 2 * i, true);
      const at = heading + i;
      const state = bytes[at + 3 * full]!;
      const flags = bytes[at + 4 * full]!;
      const battery = bytes[at + 2 * full]!;
      const posed = (flags & FLAG.posed) !== 0;
      this.#unitX[row] = ux;
      this.#unitY[row] = uy;
      t.x[row] = posed ? this.#x0 + ux * this.#step : NaN;
      t.y[row] = posed ? this.#y0 + uy * this.#step : NaN;
      t.theta[row] = posed ? angle(bytes[at]!) : 0;
      t.speed[row] = bytes[at + full]! * 0.05;
      t.battery[row] = battery === 255 ? NaN : battery / 200;
      t.state[row] = state & 15;
      t.connection[row] = state >> 4;
      t.flags[row] = flags;
      t.waiting[row] = bytes[at + 5 * full]!;
      t.heardAt[row] = age === NEVER_HEARD ? NaN : f.now - age * 100;
    }
  }

  #moved(f: Frame, rows: Uint32Array): void {
    const { bytes, view, moved } = f;
    const t = this.#table;
    const gaps = HEADER + f.full * FULL + f.gone * 4;
    for (let i = 0, handle = -1; i < moved; i++) {
      const at = gaps + i;
      handle += bytes[at]!;
      const row = this.#rowOf[handle]!;
      rows[i] = row;
      const ux = (this.#unitX[row]! + view.getInt8(at + moved)) & 0xffff;
      const uy = (this.#unitY[row]! + view.getInt8(at + 2 * moved)) & 0xffff;
      this.#unitX[row] = ux;
      this.#unitY[row] = uy;
      if ((t.flags[row]! & FLAG.posed) !== 0) {
        t.x[row] = this.#x0 + ux * this.#step;
        t.y[row] = this.#y0 + uy * this.#step;
        t.theta[row] = angle(bytes[at + 3 * moved]!);
      }
      t.speed[row] = bytes[at + 4 * moved]! * 0.05;
      t.heardAt[row] = f.now;
    }
  }

  #row(handle: number): number {
    return handle < this.#rowOf.length ? this.#rowOf[handle]! : -1;
  }

  // From now on the handle stands for the robot of this row. Gives the row of the robot that it stood for until now and that left
  // without a word, -1 where there is none.
  #name(handle: number, row: number): number {
    if (handle >= this.#rowOf.length) {
      const larger = new Int32Array(Math.min(HANDLES_MOST, Math.max(64, 2 * handle + 1))).fill(-1);
      larger.set(this.#rowOf);
      this.#rowOf = larger;
    }
    this.#fit();
    const former = this.#rowOf[handle]!;
    this.#rowOf[handle] = row;
    this.#handleOf[row] = handle;
    if (former < 0 || former === row || this.#handleOf[former] !== handle || this.#table.live[former] === 0) return -1;
    this.#table.leave(former);
    return former;
  }

  // Takes over the origin of a frame. The server widens it when a robot drives beyond it, and counts all robots from the new one.
  #rebase(f: Frame): void {
    const { step, x0, y0 } = f;
    if (step === this.#step && x0 === this.#x0 && y0 === this.#y0) return;
    for (let row = 0; row < this.#table.size; row++) {
      this.#unitX[row] = units(this.#x0 + this.#unitX[row]! * this.#step - x0, step);
      this.#unitY[row] = units(this.#y0 + this.#unitY[row]! * this.#step - y0, step);
    }
    this.#step = step;
    this.#x0 = x0;
    this.#y0 = y0;
  }

  // Room for the units of each row of the table.
  #fit(): void {
    const rows = this.#table.live.length;
    if (this.#unitX.length >= rows) return;
    const x = new Uint16Array(rows);
    const y = new Uint16Array(rows);
    const handles = new Int32Array(rows);
    x.set(this.#unitX);
    y.set(this.#unitY);
    handles.set(this.#handleOf);
    this.#unitX = x;
    this.#unitY = y;
    this.#handleOf = handles;
  }
}

function units(metres: number, step: number): number {
  return step > 0 ? Math.min(65535, Math.max(0, Math.round(metres / step))) : 0;
}

/** An eighth of a turn is 32; -π <= angle < π. */
function angle(heading: number): number {
  return ((heading << 24) >> 24) * (Math.PI / 128);
}

// One more than the largest handle of a snapshot.
function handlesOf(parts: readonly Frame[]): number {
  let most = -1;
  for (const f of parts) {
    for (let i = 0; i < f.full; i++) most = Math.max(most, f.view.getUint32(HEADER + 4 * i, true));
  }
  if (most >= HANDLES_MOST) throw new FrameError("a handle out of range");
  return most + 1;
}

interface Names {
  ids: string[];
  codes: string[];
}

const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder("utf-8");
const HEX = Array.from("0123456789abcdef", (c) => c.charCodeAt(0));

// Ids and codes of the new robots. All ids are written into one string and cut from it, codes that are ASCII likewise: a call of a
// decoder for each would take longer than everything else together.
function readNames(f: Frame): Names {
  const ids = new Array<string>(f.fresh);
  const codes = new Array<string>(f.fresh);
  if (f.fresh === 0) return { ids, codes };
  const { bytes } = f;
  const begin = HEADER + f.full * FULL + f.gone * 4 + f.moved * MOVED;
  const text = latin1.decode(bytes.subarray(begin));
  const hex = new Uint8Array(36 * f.fresh);
  let at = begin;
  for (let i = 0; i < f.fresh; i++) {
    if (at + NEW_LEAST > bytes.length) throw new FrameError("the names are cut off");
    writeUUID(bytes, at, hex, 36 * i);
    const from = at + NEW_LEAST;
    at = from + bytes[at + 16]!;
    if (at > bytes.length) throw new FrameError("the names are cut off");
    let ascii = true;
    for (let k = from; k < at; k++) ascii &&= bytes[k]! < 128;
    codes[i] = ascii ? text.slice(from - begin, at - begin) : utf8.decode(bytes.subarray(from, at));
  }
  if (at !== bytes.length) throw new FrameError("bytes after the end");
  const all = latin1.decode(hex);
  for (let i = 0; i < f.fresh; i++) ids[i] = all.slice(36 * i, 36 * i + 36);
  return { ids, codes };
}

function writeUUID(from: Uint8Array, at: number, to: Uint8Array, out: number): void {
  for (let k = 0; k < 16; k++) {
    if (k === 4 || k === 6 || k === 8 || k === 10) to[out++] = 45; // a hyphen
    const b = from[at + k]!;
    to[out++] = HEX[b >> 4]!;
    to[out++] = HEX[b & 15]!;
  }
}
