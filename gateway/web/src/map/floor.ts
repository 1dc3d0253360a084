import type { AnswerOf } from "starling-client";

type Plan = AnswerOf<"/api/v1/maps/{map_id}/versions/{n}/floor-plan", "get">;

/** A point of the roadmap that a robot can be sent to. */
export interface Place {
  /** The vertex id, as tasks name it. */
  vertex: string;
  name: string | null;
  x: number;
  y: number;
  parking: boolean;
  charging: boolean;
}

/** A map version, ready to be drawn: a grid of cells, or vertices and lanes. Metres, y up. */
export interface Floor {
  mapId: string;
  version: number;
  /** x0, y0, x1, y1. */
  bounds: readonly [number, number, number, number];
  /** `free` has one byte a cell, row-major, row 0 on top: 1 = free, 0 = blocked. */
  grid: { rows: number; cols: number; resolution: number; free: Uint8Array } | null;
  /** `lanes`: x0, y0, x1, y1 of each road. */
  net: { ids: string[]; x: Float32Array; y: Float32Array; lanes: Float32Array } | null;
  /** Named vertices, parking places, chargers. */
  places: Place[];
}

/** Reads what the server answers. */
export function floorOf(plan: Plan): Floor {
  const [x0 = 0, y0 = 0, x1 = 1, y1 = 1] = plan.bounds;
  const floor: Floor = { mapId: plan.map_id, version: plan.version, bounds: [x0, y0, x1, y1], grid: null, net: null, places: plan.places };
  if (plan.grid) {
    const { rows, cols, resolution_m: resolution } = plan.grid;
    floor.grid = { rows, cols, resolution, free: bitsOf(plan.grid.free, rows * cols) };
  }
  if (plan.net) {
    const x = Float32Array.from(plan.net.x), y = Float32Array.from(plan.net.y);
    const lanes = new Float32Array(4 * plan.net.lanes.length);
    plan.net.lanes.forEach(([from = 0, to = 0], i) => lanes.set([x[from]!, y[from]!, x[to]!, y[to]!], 4 * i));
    floor.net = { ids: plan.net.ids, x, y, lanes };
  }
  return floor;
}

function bitsOf(base64: string, n: number): Uint8Array {
  const packed = atob(base64);
  const bits = new Uint8Array(n);
  for (let i = 0; i < n; i++) bits[i] = (packed.charCodeAt(i >> 3) >> (i & 7)) & 1;
  return bits;
}

/** The place nearest to a point, no farther than `reach` metres; null where there is none. */
export function placeAt(floor: Floor, x: number, y: number, reach: number): Place | null {
  if (floor.grid) {
    const { rows, cols, resolution, free } = floor.grid;
    const col = Math.floor(x / resolution), row = rows - 1 - Math.floor(y / resolution);
    if (col < 0 || row < 0 || col >= cols || row >= rows || free[row * cols + col] === 0) return null;
    return withName(floor, cellPlace(floor.grid, row * cols + col));
  }
  const net = floor.net;
  if (!net) return null;
  let best = -1, least = reach * reach;
  for (let i = 0; i < net.ids.length; i++) {
    const d = (net.x[i]! - x) ** 2 + (net.y[i]! - y) ** 2;
    if (d <= least) [best, least] = [i, d];
  }
  return best < 0 ? null : withName(floor, bare(net.ids[best]!, net.x[best]!, net.y[best]!));
}

/** The place of a vertex id, or of a name; null where the map has none. */
export function placeOf(floor: Floor, name: string): Place | null {
  const known = floor.places.find((p) => p.vertex === name || p.name === name);
  if (known) return known;
  if (floor.grid) {
    const cell = /^\d+$/.test(name) ? Number(name) : -1;
    return floor.grid.free[cell] === 1 ? cellPlace(floor.grid, cell) : null;
  }
  const i = floor.net?.ids.indexOf(name) ?? -1;
  return i < 0 ? null : bare(name, floor.net!.x[i]!, floor.net!.y[i]!);
}

function cellPlace(g: NonNullable<Floor["grid"]>, cell: number): Place {
  const row = Math.floor(cell / g.cols);
  return bare(String(cell), ((cell % g.cols) + 0.5) * g.resolution, (g.rows - row - 0.5) * g.resolution);
}

function bare(vertex: string, x: number, y: number): Place {
  return { vertex, name: null, x, y, parking: false, charging: false };
}

function withName(floor: Floor, p: Place): Place {
  return floor.places.find((q) => q.vertex === p.vertex) ?? p;
}
