import { FLAG, RobotTable, STATES, WAITING, WAITING_OTHER } from "starling-client";
import type { Floor, Place } from "./map/floor.js";
import type { ZoneShape } from "./map/zones.js";

// A recording of `starling sim --scenario NAME --out FILE`: what it says, held against what it must be, and as the map draws it.

/** One robot at one moment. Metres from the south-west corner; `goal` is a cell, -1 = none; "" = none. */
export interface FilmRobot {
  id: string;
  x: number;
  y: number;
  theta: number;
  goal: number;
  task: string;
  waits_for: string;
  cause: string;
}

/** One moment, seconds since the scenario began. */
export interface Frame {
  t: number;
  robots: FilmRobot[];
  events: string[];
}

export interface Film {
  name: string;
  title: string;
  about: string;
  rows: number;
  cols: number;
  /** Metres. */
  cell: number;
  /** Rows of cells, the northern one first. */
  cells: string[];
  zones: { id: string; name: string; cells: number[] }[];
  frames: Frame[];
}

/** Why a file cannot be played, and where in it that stands. */
export class FilmError extends Error {
  override readonly name = "FilmError";
}

/** A file may be so large, bytes. */
export const MOST_BYTES = 64 * 2 ** 20;
const MOST_CELLS = 1_000_000;
const MOST_FRAMES = 200_000;
const MOST_ROBOTS = 20_000;
const MOST_ZONES = 5_000;
/** Robots of all frames together. */
const MOST_SIGHTS = 4_000_000;

/** Reads a recording. @throws FilmError that says what is wrong and where. */
export function parseFilm(text: string): Film {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    throw new FilmError(`this is no JSON: ${e instanceof Error ? e.message : "it cannot be read"}`);
  }
  const top = object(value, "the file");
  for (const name of ["floor", "frames"]) if (!(name in top)) throw new FilmError(`this is JSON but no recording of a scenario: it has no "${name}"`);
  const floor = object(top["floor"], "floor");
  const rows = whole(floor["rows"], "floor.rows", 1, MOST_CELLS), cols = whole(floor["cols"], "floor.cols", 1, MOST_CELLS);
  if (rows * cols > MOST_CELLS) throw new FilmError(`floor: ${rows} × ${cols} cells are more than ${MOST_CELLS}`);
  const cells = list(floor["cells"], "floor.cells", rows).map((c, i) => text_(c, `floor.cells[${i}]`));
  if (cells.length !== rows) throw new FilmError(`floor.cells: has ${cells.length} rows, floor.rows says ${rows}`);
  cells.forEach((c, i) => {
    if (c.length !== cols) throw new FilmError(`floor.cells[${i}]: is ${c.length} cells long, floor.cols says ${cols}`);
  });
  const cell = floor["cell_m"] === undefined ? 1 : number(floor["cell_m"], "floor.cell_m");
  if (!(cell > 0)) throw new FilmError("floor.cell_m: must be more than 0");
  return {
    name: optional(top["name"], "name"), title: optional(top["title"], "title"), about: optional(top["about"], "about"), rows, cols, cell, cells,
    zones: list(top["zones"] ?? [], "zones", MOST_ZONES).map((z, i) => zoneOf(z, `zones[${i}]`, rows * cols)),
    frames: framesOf(top["frames"], rows * cols),
  };
}

function zoneOf(value: unknown, at: string, cells: number): Film["zones"][number] {
  const z = object(value, at);
  return {
    id: text_(z["id"], `${at}.id`), name: optional(z["name"], `${at}.name`),
    cells: list(z["cells"] ?? [], `${at}.cells`, cells).map((c, i) => whole(c, `${at}.cells[${i}]`, 0, cells - 1)),
  };
}

function framesOf(value: unknown, cells: number): Frame[] {
  const all = list(value, "frames", MOST_FRAMES);
  if (all.length === 0) throw new FilmError("frames: is empty, there is nothing to play");
  let last = -Infinity, sights = 0;
  return all.map((v, i) => {
    const at = `frames[${i}]`, f = object(v, at), t = number(f["t"], `${at}.t`);
    if (t < last) throw new FilmError(`${at}.t: is ${t}, before the frame in front of it (${last})`);
    last = t;
    const robots = list(f["robots"] ?? [], `${at}.robots`, MOST_ROBOTS).map((r, k) => robotOf(r, `${at}.robots[${k}]`, cells));
    if ((sights += robots.length) > MOST_SIGHTS) throw new FilmError(`${at}: the recording holds more than ${MOST_SIGHTS} places of robots`);
    const ids = new Set(robots.map((r) => r.id));
    if (ids.size < robots.length) throw new FilmError(`${at}.robots: has a robot twice`);
    return { t, robots, events: list(f["events"] ?? [], `${at}.events`, 100_000).map((e, k) => text_(e, `${at}.events[${k}]`)) };
  });
}

function robotOf(value: unknown, at: string, cells: number): FilmRobot {
  const r = object(value, at);
  return {
    id: text_(r["id"], `${at}.id`), x: number(r["x"], `${at}.x`), y: number(r["y"], `${at}.y`), theta: number(r["theta"] ?? 0, `${at}.theta`),
    goal: whole(r["goal"] ?? -1, `${at}.goal`, -1, cells - 1), task: optional(r["task"], `${at}.task`),
    waits_for: optional(r["waits_for"], `${at}.waits_for`), cause: optional(r["cause"], `${at}.cause`),
  };
}

function shown(v: unknown): string {
  const s = v === undefined ? "nothing" : JSON.stringify(v) ?? "something else";
  return s.length > 40 ? `${s.slice(0, 40)} …` : s;
}

function object(v: unknown, at: string): Record<string, unknown> {
  if (typeof v !== "object" || v === null || Array.isArray(v)) throw new FilmError(`${at}: want an object, got ${shown(v)}`);
  return v as Record<string, unknown>;
}

function list(v: unknown, at: string, most: number): unknown[] {
  if (v === null) return []; // how the recorder writes an empty list
  if (!Array.isArray(v)) throw new FilmError(`${at}: want a list, got ${shown(v)}`);
  if (v.length > most) throw new FilmError(`${at}: has ${v.length} entries, at most ${most} can be`);
  return v;
}

function text_(v: unknown, at: string): string {
  if (typeof v !== "string") throw new FilmError(`${at}: want a text, got ${shown(v)}`);
  return v;
}

function optional(v: unknown, at: string): string {
  return v === undefined ? "" : text_(v, at);
}

function number(v: unknown, at: string): number {
  if (typeof v !== "number" || !Number.isFinite(v)) throw new FilmError(`${at}: want a number, got ${shown(v)}`);
  return v;
}

function whole(v: unknown, at: string, least: number, most: number): number {
  const n = number(v, at);
  if (!Number.isInteger(n) || n < least || n > most) throw new FilmError(`${at}: want a whole number from ${least} to ${most}, got ${n}`);
  return n;
}

/** Where a cell's middle is, metres. */
export function middleOf(f: Film, cell: number): { x: number; y: number } {
  return { x: ((cell % f.cols) + 0.5) * f.cell, y: (f.rows - Math.floor(cell / f.cols) - 0.5) * f.cell };
}

const ways: Record<string, string> = { ">": "→", "<": "←", "^": "↑", v: "↓" };
const MOST_PLACES = 2_000;

/** The floor as the map draws it; one-way cells and named ones are its places. */
export function floorOfFilm(f: Film): Floor {
  const free = new Uint8Array(f.rows * f.cols), places: Place[] = [];
  f.cells.forEach((row, r) => {
    for (let c = 0; c < f.cols; c++) {
      const sign = row[c]!, cell = r * f.cols + c;
      free[cell] = sign === "@" ? 0 : 1;
      if (sign !== "@" && sign !== "." && places.length < MOST_PLACES) places.push({ vertex: String(cell), name: ways[sign] ?? sign, ...middleOf(f, cell), parking: false, charging: false });
    }
  });
  return { mapId: "", version: 0, bounds: [0, 0, f.cols * f.cell, f.rows * f.cell], grid: { rows: f.rows, cols: f.cols, resolution: f.cell, free }, net: null, places };
}

/** The zones as the map draws them; of a zone in several pieces the largest has its border. */
export function zonesOfFilm(f: Film): ZoneShape[] {
  return f.zones.flatMap((z) => {
    const ring = borderOf(z.cells, f.cols).map(([c, r]): [number, number] => [c * f.cell, (f.rows - r) * f.cell]);
    return ring.length < 3 ? [] : [{ id: z.id, kind: "traffic" as const, name: z.name, ring, capacity: 0, occupancy: 0, queue: 0 }];
  });
}

/** The longest border of a set of cells, as corners (column, row from the north), the inside on the right. */
export function borderOf(cells: readonly number[], cols: number): [number, number][] {
  const set = new Set(cells), w = cols + 1;
  const next = new Map<number, number[]>(); // corner by corner
  const edge = (c0: number, r0: number, c1: number, r1: number): void => {
    const from = r0 * w + c0, to = r1 * w + c1, known = next.get(from);
    if (known) known.push(to);
    else next.set(from, [to]);
  };
  for (const cell of set) {
    const c = cell % cols, r = Math.floor(cell / cols);
    if (!set.has(cell - cols)) edge(c, r, c + 1, r);
    if (c === cols - 1 || !set.has(cell + 1)) edge(c + 1, r, c + 1, r + 1);
    if (!set.has(cell + cols)) edge(c + 1, r + 1, c, r + 1);
    if (c === 0 || !set.has(cell - 1)) edge(c, r + 1, c, r);
  }
  let best: number[] = [];
  for (const start of next.keys()) {
    const way: number[] = [];
    for (let at = start; ; ) {
      const to = next.get(at)?.pop();
      if (to === undefined) break;
      way.push(at);
      at = to;
    }
    if (way.length > best.length) best = way;
  }
  const corner = (i: number): [number, number] => [best[i % best.length]! % w, Math.floor(best[i % best.length]! / w)];
  return best.map((_, i) => corner(i)).filter((p, i) => {
    const a = corner(i + best.length - 1), b = corner(i + 1);
    return (p[0] - a[0]) * (b[1] - p[1]) !== (p[1] - a[1]) * (b[0] - p[0]); // where the way bends
  });
}

/** The last frame that is not after `t`. */
export function frameAt(f: Film, t: number): number {
  let low = 0, high = f.frames.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (f.frames[middle]!.t <= t) low = middle;
    else high = middle - 1;
  }
  return low;
}

const waitingOf = new Map<string, number>(WAITING.map((name, i) => [name, i]));
const IDLE = STATES.indexOf("IDLE"), MOVING = STATES.indexOf("MOVING"), WAITS = STATES.indexOf("WAITING");
const ONLINE = 1;
const STILL_M = 1e-3;
// The map fades robots that were not heard for long; these are heard for ever.
const FOR_EVER_MS = 1e10;

/** Puts the robots of a moment into a table: between two frames they are on their way from one to the other. */
export function show(f: Film, t: number, out: RobotTable): void {
  const i = frameAt(f, t), a = f.frames[i]!, b = f.frames[i + 1];
  const share = b && b.t > a.t ? Math.min(1, Math.max(0, (t - a.t) / (b.t - a.t))) : 0;
  const after = new Map((b?.robots ?? []).map((r) => [r.id, r]));
  for (let row = 0; row < out.size; row++) out.leave(row);
  for (const r of a.robots) {
    const row = out.enter(r.id, r.id), to = after.get(r.id) ?? r;
    const moves = Math.abs(to.x - r.x) + Math.abs(to.y - r.y) > STILL_M;
    out.x[row] = r.x + (to.x - r.x) * share;
    out.y[row] = r.y + (to.y - r.y) * share;
    const turn = to.theta - r.theta - 2 * Math.PI * Math.round((to.theta - r.theta) / (2 * Math.PI));
    out.theta[row] = r.theta + turn * share;
    out.speed[row] = b && b.t > a.t ? Math.hypot(to.x - r.x, to.y - r.y) / (b.t - a.t) : 0;
    out.battery[row] = NaN;
    out.state[row] = r.cause !== "" ? WAITS : moves || r.task !== "" ? MOVING : IDLE;
    out.connection[row] = ONLINE;
    out.flags[row] = FLAG.posed | (r.task !== "" ? FLAG.tasked : 0);
    out.waiting[row] = r.cause === "" ? 0 : (waitingOf.get(r.cause) ?? WAITING_OTHER);
    out.heardAt[row] = Date.now() + FOR_EVER_MS;
  }
}

/** What happened in the whole recording, with the frame in which it is told. */
export function eventsOf(f: Film): { frame: number; t: number; text: string }[] {
  return f.frames.flatMap((x, frame) => x.events.map((text) => ({ frame, t: x.t, text })));
}
