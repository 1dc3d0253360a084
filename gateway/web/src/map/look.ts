import { CONNECTIONS, FLAG, STATES, WAITING } from "starling-client";

/** The shapes that a robot (or the sign of a place) can have; their numbers are what the shaders know. */
export const SHAPES = ["disc", "arrow", "square", "diamond", "bars", "triangle", "cross", "gap", "ring", "parking", "charger"] as const;
/** One of {@link SHAPES}. */
export type Shape = (typeof SHAPES)[number];

/** The colours by number; each is the custom property `--robot-…`, the last two those of zones. */
export const PAINTS = ["idle", "moving", "waiting", "charging", "paused", "error", "manual", "offline", "parking", "charging-place"] as const;
/** One of {@link PAINTS}. */
export type Paint = (typeof PAINTS)[number];

/** What is drawn on top of the shape; bits. */
export const MARK = { tasked: 1, external: 2, faulty: 4, hollow: 8, dim: 16 } as const;

/** How a robot of a state looks. `rank` says who lies on top where robots overlap: higher is nearer to the eye. */
export interface Look {
  shape: Shape;
  paint: Paint;
  rank: number;
}

/** From this rank on a robot may need somebody. */
export const TROUBLE = 4;

/** Colour and shape together: whoever cannot tell the colours apart has the shape. */
export const LOOKS: Record<(typeof STATES)[number], Look> = {
  UNKNOWN: { shape: "ring", paint: "offline", rank: 4 },
  IDLE: { shape: "disc", paint: "idle", rank: 1 },
  MOVING: { shape: "arrow", paint: "moving", rank: 2 },
  WAITING: { shape: "square", paint: "waiting", rank: 5 },
  CHARGING: { shape: "diamond", paint: "charging", rank: 1 },
  PAUSED: { shape: "bars", paint: "paused", rank: 5 },
  ERROR: { shape: "triangle", paint: "error", rank: 7 },
  MANUAL: { shape: "cross", paint: "manual", rank: 6 },
};

/** A robot nobody hears is drawn so, whatever state it was in. */
export const SILENT: Look = { shape: "gap", paint: "offline", rank: 4 };

/** What the connection changes: nothing; the shape becomes hollow; the robot is drawn as {@link SILENT}. */
export const HEARD: Record<(typeof CONNECTIONS)[number], "as-is" | "hollow" | "silent"> = {
  NEVER_SEEN: "silent",
  ONLINE: "as-is",
  STALE: "hollow",
  OFFLINE: "silent",
};

/** The shape byte of a row that is not drawn. */
export const ABSENT = 255;

// The tables above by number, since they are read once a robot and update.
const shapeOf = Uint8Array.from(STATES, (s) => SHAPES.indexOf(LOOKS[s].shape));
const paintOf = Uint8Array.from(STATES, (s) => PAINTS.indexOf(LOOKS[s].paint));
const rankOf = Uint8Array.from(STATES, (s) => LOOKS[s].rank);
const heardOf = Uint8Array.from(CONNECTIONS, (c) => ["as-is", "hollow", "silent"].indexOf(HEARD[c]));
const silent = [SHAPES.indexOf(SILENT.shape), PAINTS.indexOf(SILENT.paint), SILENT.rank] as const;
const waiting = STATES.indexOf("WAITING"), failed = STATES.indexOf("ERROR"), none = WAITING.indexOf("none");

/** Packs a robot's look as one little-endian word: shape, paint, marks (without `dim`), rank. */
export function packLook(state: number, connection: number, flags: number, cause: number): number {
  const heard = heardOf[connection] ?? 2;
  let marks = flags & FLAG.external ? MARK.external : 0;
  if (heard === 2) return pack(silent[0], silent[1], marks, silent[2]);
  if (heard === 1) marks |= MARK.hollow;
  if (flags & FLAG.faulty && state !== failed) marks |= MARK.faulty;
  let rank = rankOf[state] ?? 1;
  if (flags & FLAG.tasked && (state === waiting || cause !== none)) {
    marks |= MARK.tasked;
    rank++;
  }
  return pack(shapeOf[state] ?? silent[0], paintOf[state] ?? silent[1], marks, rank);
}

/** Four bytes as one unsigned word, the first byte lowest. */
export function pack(shape: number, paint: number, marks: number, rank: number): number {
  return (shape | (paint << 8) | (marks << 16) | (rank << 24)) >>> 0;
}
